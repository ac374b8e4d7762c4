r"""What LaTeX commands stand for: the terminal of the grammar, and its word in the language."""

from __future__ import annotations

_GREEK = (
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"),
    *("lambda", "mu", "nu", "xi", "omicron", "pi", "rho", "sigma", "tau", "upsilon", "phi"),
    *("chi", "psi", "omega"),
    *("Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega"),
)
# Letters and signs that may be (part of) a name.
SYMBOLS = {
    **{name: name for name in _GREEK},
    **{f"var{name}": name for name in _GREEK},
    **{"partial": "∂", "nabla": "nabla", "bigtriangledown": "nabla", "ell": "ell", "hbar": "hbar"},
    **{"infty": "inf", "top": "top", "intercal": "top", "star": "star", "ast": "star"},
    **{"dagger": "dagger", "prime": "'", "perp": "perp", "imath": "i", "jmath": "j"},
}
FUNCTIONS = {
    **{name: name for name in ("tanh", "exp", "log", "max", "min", "sin", "cos", "argmax")},
    "ln": "log",
}
ACCENTS = {
    **{name: name for name in ("hat", "tilde", "bar", "breve", "dot", "ddot", "check", "vec")},
    **{"widehat": "hat", "widetilde": "tilde", "overline": "bar", "overrightarrow": "vec"},
    **{"overleftarrow": "cev", "underline": "", "underbrace": "", "overbrace": ""},
}
# The fonts that make one word of the letters in them.
UPRIGHT = frozenset(("mathrm", "mathit", "mathsf", "mathtt", "operatorname", "mbox", "text"))
FONTS = frozenset(
    (
        *("mathbf", "mathbb", "mathcal", "mathscr", "mathfrak", "mathnormal", "boldsymbol"),
        *("bm", "pmb", "mathbfit", "textbf", "textrm", "textit", "textsf", "texttt"),
        *UPRIGHT,
    )
)
_SIGNS = {
    "ENTRIES": ("odot", "circ"),
    "STAR": ("times", "ast"),
    "SLASH": ("div",),
    "MOD": ("bmod", "mod"),
    "DOT": ("cdot", "bullet", "centerdot"),
    "EQUALS": (
        "longleftarrow",
        "Leftarrow",
        "equiv",
        "triangleq",
        "coloneqq",
        "doteq",
        "gets",
        "leftarrow",
    ),
    "SIM": ("sim",),
    "IN": ("in",),
    "COMPARE": ("lt", "gt", "le", "leq", "leqslant", "ge", "geq", "geqslant", "ne", "neq"),
    "LOR": ("lor", "vee"),
    "LAND": ("land", "wedge"),
    "LNOT": ("lnot", "neg"),
    "SUM": ("sum",),
    "FRAC": ("frac", "dfrac", "tfrac", "cfrac"),
    "SQRT": ("sqrt",),
    "DOTS": ("dots", "ldots", "cdots", "vdots", "ddots", "dotsc", "dotsb", "dotsm", "dotsi"),
    "LPAR": ("lparen", "lbrace"),
    "RPAR": ("rparen", "rbrace"),
    "LSQB": ("lbrack",),
    "RSQB": ("rbrack",),
    "LABS": ("lvert",),
    "RABS": ("rvert",),
    "LNORM": ("lVert",),
    "RNORM": ("rVert",),
    "LFLOOR": ("lfloor",),
    "RFLOOR": ("rfloor",),
    "LANGLE": ("langle",),
    "RANGLE": ("rangle",),
    "QUAD": ("quad", "qquad"),
    "TAIL": ("forall",),
    "NEWROW": ("cr", "newline"),
}
SIGNS = {name: terminal for terminal, names in _SIGNS.items() for name in names}
SIZES = {
    **dict.fromkeys(("left", "bigl", "Bigl", "biggl", "Biggl"), "left"),
    **dict.fromkeys(("right", "bigr", "Bigr", "biggr", "Biggr"), "right"),
    **dict.fromkeys(("middle", "big", "Big", "bigg", "Bigg", "bigm"), ""),
}
IGNORED = frozenset(
    (
        *("limits", "nolimits", "displaystyle", "textstyle", "scriptstyle", "nonumber", "notag"),
        *("hfill", "hfil", "thinspace", "allowbreak", "bf", "rm", "it", "sf", "cal", "tt"),
    )
)
ALIGNING = frozenset(
    (
        *("aligned", "align", "alignat", "alignedat", "split", "gather", "gathered", "equation"),
        *("subequations", "eqnarray", "multline", "flalign", "displaymath", "math"),
    )
)
MATRICES = frozenset(("matrix", "bmatrix", "pmatrix", "Bmatrix", "smallmatrix", "array"))
CASES = frozenset(("cases", "dcases", "rcases"))
# What has no meaning here, and what to write instead.
FOREIGN = {
    "prod": "a product over steps is \\exp(\\sum_t \\log(…))",
    "int": "sums over the steps of an axis are \\sum_t",
    "mid": "p(y | x) is a distribution: y_t \\sim \\mathrm{categorical}(p_t)",
    "otimes": "by entries it is a \\odot b, the outer product a b^\\top",
    "oplus": "vectors are joined as [a; b]",
    "Vert": "a norm is written \\lVert x \\rVert",
    "vert": "an absolute value is written \\lvert x \\rvert",
    "pm": "write two equations",
    "approx": "an equation is written with =",
    "propto": "write the constant: = … / \\sum …",
    "lim": "an equation says what holds at each step",
    "choose": "write the fraction: \\frac{a}{b}",
    "over": "write the fraction: \\frac{a}{b}",
    "sinh": "write (\\exp(x) - \\exp(-x)) / 2",
    "cosh": "write (\\exp(x) + \\exp(-x)) / 2",
    "det": "there is no determinant in the language",
    "to": "an equation is written with =",
    "rightarrow": "an equation is written with =",
    "ref": "write the equation itself",
    "lceil": "write -\\lfloor -x \\rfloor",
    "def": "macros are not expanded: write what they stand for",
    "newcommand": "macros are not expanded: write what they stand for",
}
TEXTUAL = frozenset(("begin", "end", "tag", "label", "ref", "eqref", "text", "hspace", "color"))
KNOWN = frozenset(
    (*SYMBOLS, *FUNCTIONS, *ACCENTS, *FONTS, *SIGNS, *SIZES, *IGNORED, "arg", "begin", "end")
)
