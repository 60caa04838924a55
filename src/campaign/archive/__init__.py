"""A campaign copied out, checked at any time later, and brought back."""

from campaign.archive.check import Check, verify
from campaign.archive.copier import Archived, Asked
from campaign.archive.make import archive, outline
from campaign.archive.restoring import Restored, restore

__all__ = ["Archived", "Asked", "Check", "Restored", "archive", "outline", "restore", "verify"]
