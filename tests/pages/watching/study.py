def mock(realization, redshift, seed):
    if redshift == 3.0 and realization == 3:
        raise ValueError(f"mass {seed % 97} is outside 10 to 15")
    return float(realization)
