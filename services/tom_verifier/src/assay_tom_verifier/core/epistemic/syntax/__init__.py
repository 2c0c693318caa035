"""The text of models, events, formulas and scripts.

A text is read line by line; `#` starts a comment, and a line goes on inside brackets and after a comma or operator.

    model                                     structure
      frame S5             # or KD45, K45       agents a, b
      agents a, b                               atoms p, q
      atoms p, q                                law p | q
      world w0: p, q                            observes a: p
      world w1:                                 observes b: all but p
      relation a: w0, w1 -> w0, w1              actual p
      relation b: {w0} {w1}                   end
      point w0
    end

    events told                               define either: K[a] p | K[a] !p
      frame KD45
      event e: pre p post q := !q, p := true  announce p | q
      event skip:                             announce whether K[a] p
      relation a: e -> e; skip -> skip        update told
      relation b: e, skip -> skip             claim B[b] !either
      point e                                 repeat announce f until g
    end

A relation is written by its arrows (`none` where there are none, which K45 alone allows) or by its classes; what a list
of classes leaves out is alone in its own. Formulas, loosest first: `<->`, `->`, `|`, `&`, then the prefixes `!`,
`K[a]`, `B[a]`, `Kw[a]` (knows whether), `C[a, b]`, `D[a, b]`, `[!f]` and `[told, e]`; `true`, `false`, atoms, defined
names, brackets.
"""

from assay_tom_verifier.core.epistemic.syntax.printing import print_events, print_formula, print_model, print_script
from assay_tom_verifier.core.epistemic.syntax.scripts import parse_events, parse_formula, parse_model, parse_script

__all__ = [
    "parse_events",
    "parse_formula",
    "parse_model",
    "parse_script",
    "print_events",
    "print_formula",
    "print_model",
    "print_script",
]
