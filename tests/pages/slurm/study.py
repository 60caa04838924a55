def mock(realization, redshift):
    return float(realization)
