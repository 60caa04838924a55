"""What every generator must do: python -m pytest."""

from typing import Any

import pytest
from mine import Mine, MineOptions

from campaign.testing.contracts import GeneratorContract


class TestMine(GeneratorContract):
    """The contract suite, for one configuration and one point."""

    @pytest.fixture
    def generator(self) -> Mine:
        """The generator as its entry point gives it."""
        return Mine()

    @pytest.fixture
    def config(self) -> dict[str, Any]:
        """Resolved options."""
        return dict(MineOptions().model_dump(mode="json"))

    @pytest.fixture
    def point(self) -> dict[str, float]:
        """Parameters of a job."""
        return {"x": 1.0}
