"""Which campaigns exist, who leads them, what state they are in, and which runs belong to them."""
