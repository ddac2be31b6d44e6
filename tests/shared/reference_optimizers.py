"""The seven optimizers in float64 NumPy, each written from its paper's equations and from nothing else.

Every function takes the parameters to start from, (n,), and `gradient(step, parameters)`, and gives the parameters
after every step, (steps, n).
"""

import math

import numpy as np


def sgd(start, gradient, steps, learning_rate):
    """Robbins & Monro 1951: x ← x − γ·∇."""
    x, path = np.array(start, np.float64), []
    for step in range(steps):
        x = x - learning_rate * gradient(step, x)
        path.append(x)
    return np.array(path)


def momentum(start, gradient, steps, learning_rate, momentum):
    """Polyak 1964, as a sum over all earlier gradients: Δ_t = −γ·Σ_s μ^(t−s)·∇_s, kept as a velocity in steps."""
    x, velocity, path = np.array(start, np.float64), np.zeros(len(start)), []
    for step in range(steps):
        velocity = momentum * velocity - learning_rate * gradient(step, x)
        x = x + velocity
        path.append(x)
    return np.array(path)


def nesterov(start, gradient, steps, learning_rate, momentum):
    """The form of Sutskever et al. 2013, eq. 3–4, followed at its look-ahead points y_t = x_t + μ·v_t.

    v ← μ·v − γ·∇(y), x ← x + v. The path is that of y: v₀ = 0, so it starts where x does.
    """
    x, velocity, path = np.array(start, np.float64), np.zeros(len(start)), []
    for step in range(steps):
        ahead = x + momentum * velocity
        velocity = momentum * velocity - learning_rate * gradient(step, ahead)
        x = x + velocity
        path.append(x + momentum * velocity)
    return np.array(path)


def rmsprop(start, gradient, steps, learning_rate, beta, eps):
    """Tieleman & Hinton 2012, lecture 6.5: divide by the root of a running mean of squares."""
    x, mean_square, path = np.array(start, np.float64), np.zeros(len(start)), []
    for step in range(steps):
        g = gradient(step, x)
        mean_square = beta * mean_square + (1 - beta) * np.square(g)
        x = x - learning_rate * (g / (np.sqrt(mean_square) + eps))
        path.append(x)
    return np.array(path)


def adam(start, gradient, steps, learning_rate, beta1, beta2, eps):
    """Kingma & Ba 2015, algorithm 1."""
    theta, m, v, path = np.array(start, np.float64), np.zeros(len(start)), np.zeros(len(start)), []
    for t in range(1, steps + 1):
        g = gradient(t - 1, theta)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - math.pow(beta1, t))
        v_hat = v / (1 - math.pow(beta2, t))
        theta = theta - learning_rate * m_hat / (np.sqrt(v_hat) + eps)
        path.append(theta)
    return np.array(path)


def nadam(start, gradient, steps, learning_rate, beta1, beta2, eps):
    """Dozat 2016, algorithm 2, with one β₁ for all steps: its products of μ_i are powers."""
    theta, m, n, path = np.array(start, np.float64), np.zeros(len(start)), np.zeros(len(start)), []
    for t in range(1, steps + 1):
        g = gradient(t - 1, theta)
        m = beta1 * m + (1 - beta1) * g
        n = beta2 * n + (1 - beta2) * g**2
        m_hat = beta1 * m / (1 - math.prod([beta1] * (t + 1))) + (1 - beta1) * g / (1 - math.prod([beta1] * t))
        n_hat = n / (1 - math.pow(beta2, t))
        theta = theta - learning_rate * m_hat / (np.sqrt(n_hat) + eps)
        path.append(theta)
    return np.array(path)


def muon(start, gradient, steps, learning_rate, momentum, beta1, beta2, eps):
    """Jordan et al. 2024 of what is no hidden matrix: Adam, at a twentieth of the learning rate."""
    return adam(start, gradient, steps, learning_rate / 20, beta1, beta2, eps)


def muon_of_matrix(start, gradient, steps, learning_rate, momentum):
    """Jordan et al. 2024 of a hidden matrix, after the listing of their post, whose matrices are (out, in)."""
    w, buffer, path = np.array(start, np.float64).T, np.zeros(np.shape(start)[::-1]), []
    for step in range(steps):
        g = gradient(step, w.T).T
        buffer = momentum * buffer + g
        ahead = g + momentum * buffer
        rows, columns = ahead.shape
        x = ahead.T if rows > columns else ahead
        x = x / (np.sqrt(np.trace(x @ x.T)) + 1e-7)
        for _ in range(5):
            a = x @ x.T
            x = 3.4445 * x + (-4.7750 * a + 2.0315 * np.linalg.matrix_power(a, 2)) @ x
        x = x.T if rows > columns else x
        w = w - learning_rate * np.sqrt(max(1, rows / columns)) * x
        path.append(w.T)
    return np.array(path)
