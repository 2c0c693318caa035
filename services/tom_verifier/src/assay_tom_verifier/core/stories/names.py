"""What agents, objects, containers and places of generated stories are called."""

AGENTS = (
    "Abigail", "Aiden", "Amelia", "Ava", "Benjamin", "Carter", "Chloe", "Diego", "Elena", "Emma", "Ethan", "Fatima",
    "Grace", "Hana", "Henry", "Ines", "Isla", "Jack", "Jonas", "Kenji", "Layla", "Liam", "Lucas", "Marta", "Mia",
    "Nathan", "Noah", "Olga", "Owen", "Priya", "Rosa", "Samir", "Sophia", "Tomas", "Wei", "William", "Yara", "Zoe",
)  # fmt: skip

THINGS = (
    "apple", "asparagus", "banana", "beans", "cabbage", "carrot", "cherry", "corn", "cucumber", "eggplant", "lemon",
    "lettuce", "melon", "onion", "orange", "peach", "pear", "peas", "persimmon", "plum", "potato", "radish", "spinach",
    "sweet_potato", "tomato", "watermelon",
)  # fmt: skip

CONTAINERS = tuple(
    f"{colour}_{kind}"
    for colour in ("blue", "green", "red")
    for kind in (
        "basket", "bathtub", "bottle", "box", "bucket", "container", "crate", "cupboard", "drawer", "envelope",
        "pantry", "suitcase", "treasure_chest",
    )
)  # fmt: skip

PLACES = (
    "attic", "basement", "bathroom", "bedroom", "cellar", "closet", "den", "garage", "hall", "kitchen", "laundry",
    "living_room", "lounge", "office", "pantry", "patio", "porch", "staircase", "study", "sunroom", "workshop",
)  # fmt: skip

ANIMALS = ("cat", "dog", "hedgehog", "monkey", "mouse", "squirrel")

BELONGINGS = ("gloves", "hat", "keys", "phone", "umbrella", "watch")
