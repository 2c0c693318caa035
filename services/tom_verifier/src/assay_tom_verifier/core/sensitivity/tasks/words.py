"""The words that tasks are told in. All contents go with "full of"; every one is a single word without a capital."""

from __future__ import annotations

NAMES = (
    "Ada", "Bruno", "Clara", "Dario", "Elsa", "Felix", "Greta", "Hugo", "Ines", "Jonas", "Karla", "Leon",
    "Mira", "Nils", "Olga", "Paul", "Quinn", "Rosa", "Stefan", "Tilda", "Uwe", "Vera", "Willem", "Yara",
)  # fmt: skip

# What hides its contents and may carry a label.
PACKAGES = (
    "tin", "jar", "carton", "sack", "crate", "pouch", "flask", "barrel", "parcel", "casket",
    "packet", "canister", "hamper", "satchel", "urn", "chest", "bucket", "case", "tub", "envelope",
)  # fmt: skip

CONTENTS = (
    "walnuts", "buttons", "rice", "nails", "honey", "paint", "raisins", "pebbles", "flour", "chalk",
    "tea", "sand", "cookies", "screws", "feathers", "coins", "salt", "soap", "letters", "maps",
    "plums", "batteries", "oats", "marbles", "seeds", "beads", "candles", "matches", "olives", "cork",
    "pepper", "glue", "photos", "stamps", "socks", "gloves", "lentils", "sugar", "yarn", "charcoal",
)  # fmt: skip

SPOTS = (
    "on the counter", "behind the door", "under the stairs", "in the attic", "at the market", "on the bench",
    "in the garage", "beside the stove", "by the window", "on the porch", "in the cellar", "near the gate",
)  # fmt: skip

# What a thing can be put into and looked for in.
PLACES = (
    "drawer", "basket", "cupboard", "trunk", "closet", "locker", "suitcase", "cabinet", "backpack", "freezer",
    "oven", "piano", "kettle", "vase", "mailbox", "toolbox", "sideboard", "bookcase", "fridge", "shed",
)  # fmt: skip

THINGS = (
    "key", "scarf", "ring", "lamp", "flute", "phone", "ball", "doll", "wallet", "kite",
    "whistle", "clock", "compass", "mirror", "brush", "spoon", "hat", "novel", "torch", "magnet",
)  # fmt: skip

ROOMS = (
    "kitchen", "library", "workshop", "hall", "studio", "bedroom", "office", "classroom", "barn", "tent",
)  # fmt: skip

# What can turn out well or badly, and what is said of it.
EVENTS = (
    "picnic", "concert", "haircut", "dinner", "journey", "lecture", "party", "film", "hike", "match",
    "wedding", "voyage", "parade", "rehearsal", "auction", "regatta",
)  # fmt: skip

PRAISE_AND_BLAME = (("wonderful", "terrible"), ("splendid", "dreadful"), ("great", "awful"), ("superb", "poor"))
