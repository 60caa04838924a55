"""What comes out: reports on a campaign and its dataset."""
