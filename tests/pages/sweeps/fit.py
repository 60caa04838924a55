def loss(a):
    return (a - 0.3) ** 2
