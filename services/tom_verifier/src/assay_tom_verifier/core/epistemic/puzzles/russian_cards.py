"""Anne and Bill hold three of seven cards each, Cath one: can they tell their hands in public, and Cath learn nothing?

Van Ditmarsch, The Russian Cards Problem (2003).
"""

from __future__ import annotations

from itertools import combinations

# Five hands, no two of which share more than one card: whichever three Bill holds, one of the five is left.
_HANDS = ("012", "034", "056", "135", "246")
_CARDS = "0123456"


def russian_cards() -> str:
    """Anne holds 0, 1, 2 and says that her hand is one of five; Bill then says which card Cath holds.

    Safe where Cath knows of no card but her own who holds it, and where that is common knowledge.
    """
    deals = [
        (anne, bill, cath)
        for anne in combinations(_CARDS, 3)
        for bill in combinations([card for card in _CARDS if card not in anne], 3)
        for cath in [next(card for card in _CARDS if card not in anne and card not in bill)]
    ]
    hands = [tuple("".join(hand) for hand in deal) for deal in deals]

    def classes(player: int) -> str:
        alike: dict[str, list[str]] = {}
        for deal in hands:
            alike.setdefault(deal[player], []).append("d" + "_".join(deal))
        return " ".join(f"{{{', '.join(deals)}}}" for deals in alike.values())

    players = ("anne", "bill", "cath")
    anne_hand = {hand: "(" + " & ".join(f"anne{card}" for card in hand) + ")" for hand in _HANDS}
    ignorant = " & ".join(f"(cath{card} | !K[cath] anne{card} & !K[cath] bill{card})" for card in _CARDS)
    lines = [
        "# Seven cards: Anne holds 0, 1 and 2, Bill 3, 4 and 5, Cath 6.",
        "model",
        "  frame S5",
        f"  agents {', '.join(players)}",
        f"  atoms {', '.join(player + card for player in players for card in _CARDS)}",
        *(
            f"  world d{'_'.join(deal)}: "
            + ", ".join(player + card for player, hand in zip(players, deal, strict=True) for card in hand)
            for deal in hands
        ),
        *(f"  relation {player}: {classes(place)}" for place, player in enumerate(players)),
        "  point d012_345_6",
        "end",
        "",
        f"define cath_ignorant: {ignorant}",
        f"define bill_knows: {' & '.join(f'Kw[bill] anne{card}' for card in _CARDS)}",
        f"define anne_knows: {' & '.join(f'Kw[anne] bill{card}' for card in _CARDS)}",
        f"announce {' | '.join(anne_hand.values())}",
        "claim bill_knows & C[anne, bill, cath] cath_ignorant",
        "announce cath6",
        "claim C[anne, bill] (anne_knows & bill_knows)",
        "claim C[anne, bill, cath] cath_ignorant",
    ]
    return "\n".join(lines) + "\n"
