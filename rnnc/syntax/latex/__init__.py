"""LaTeX equations as statements of the language.

    \\hat h_t = \\tanh(W x_t + U (r_t \\odot h_{t-1}))
    h_hat[t] = tanh(W x[t] + U (r[t] * h[t-1]))

``commands`` says what commands stand for, ``arrange`` brings the signs into the order in which
``grammar/latex.lark`` parses them, ``marks`` are what stands on the paper, ``parse`` makes them,
``read`` gives them their meaning with the names of a model (``names``, ``scripts``).
"""
