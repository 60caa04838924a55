def solve(kappa, dt, steps=10):
    return {"error": kappa * dt / steps, "time": steps * dt}


def drag(h):
    return 1.0 + 0.3 * h**2


def mock(realization, seed):
    return 1000.0 + seed % 10
