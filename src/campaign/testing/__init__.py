"""For authors of plug-ins and for our own tests: scripted generators, and the contract suites of the ports."""
