"""What is known of common predicates, as data. `predicates.py` reads it.

To add a predicate: a transitive verb is a line in `VERBS`; all else is a row of `ROWS`. What isn't here is
unknown: no negative is made from its meaning, only from boxes and names.
"""

from typing import NamedTuple


class Row(NamedTuple):
    """A predicate.

    Attributes:
      name: How it is called here.
      same: Texts that mean the same and may stand in its place.
      read: Texts that are read as it, but that don't always mean the same.
      inverse: What the object is to the subject; empty if plain English has no word for it.
      mutual: "yes" if it is always as true with its ends swapped, "maybe" if it can be, "no" if it can't.
      implies: Predicates that are true of the pair, too.
      may: Predicates that people may say of the pair, too, whatever its boxes are.
      opposites: Predicates that can't be true of the same subject and object.
      spatial: Whether a posture can stand before it: "standing behind".
    """

    name: str
    same: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    inverse: str = ""
    mutual: str = "no"
    implies: tuple[str, ...] = ()
    may: tuple[str, ...] = ()
    opposites: tuple[str, ...] = ()
    spatial: bool = True


ROWS = (
    Row(
        "left of",
        same=("to the left of",),
        read=("to left of", "on the left of", "on left of"),
        inverse="right of",
        opposites=("right of", "above right of", "below right of"),
    ),
    Row(
        "right of",
        same=("to the right of",),
        read=("to right of", "on the right of", "on right of"),
        inverse="left of",
        opposites=("left of", "above left of", "below left of"),
    ),
    # A sign on the left side of a bus is a part of the bus.
    Row("on the left side of", may=("left of", "on"), opposites=("right of",)),
    Row("on the right side of", may=("right of", "on"), opposites=("left of",)),
    Row(
        "above",
        read=("up above", "directly above", "high above", "higher than"),
        inverse="below",
        may=("over", "on"),
        opposites=("below", "below left of", "below right of"),
    ),
    Row(
        "below",
        same=("under", "beneath", "underneath"),
        read=("directly below", "lower than", "directly under"),
        inverse="above",
        opposites=("above", "above left of", "above right of"),
    ),
    Row("over", inverse="under", may=("above", "on", "covering"), opposites=("below",)),
    Row(
        "above left of",
        same=("above and to the left of",),
        read=("above and left of", "to the upper left of"),
        inverse="below right of",
        implies=("above", "left of"),
        opposites=("above right of", "below left of", "below right of"),
    ),
    Row(
        "above right of",
        same=("above and to the right of",),
        read=("above and right of", "to the upper right of"),
        inverse="below left of",
        implies=("above", "right of"),
        opposites=("above left of", "below right of", "below left of"),
    ),
    Row(
        "below left of",
        same=("below and to the left of",),
        read=("below and left of", "to the lower left of"),
        inverse="above right of",
        implies=("below", "left of"),
        opposites=("below right of", "above left of", "above right of"),
    ),
    Row(
        "below right of",
        same=("below and to the right of",),
        read=("below and right of", "to the lower right of"),
        inverse="above left of",
        implies=("below", "right of"),
        opposites=("below left of", "above right of", "above left of"),
    ),
    Row("in front of", read=("directly in front of",), inverse="behind", opposites=("behind",)),
    Row(
        "behind",
        same=("in back of",),
        read=("directly behind",),
        inverse="in front of",
        opposites=("in front of",),
    ),
    Row(
        "in the background of",
        read=(
            *("in background of", "in the background", "in background", "background of"),
            *("background", "in the distance behind", "in the distance"),
        ),
        inverse="in front of",
        implies=("behind",),
        opposites=("in front of",),
    ),
    Row(
        "in the foreground of",
        read=("in foreground of", "in the foreground", "foreground"),
        inverse="behind",
        implies=("in front of",),
        opposites=("behind",),
    ),
    Row(
        "next to",
        same=("beside", "adjacent to"),
        read=("alongside", "right next to", "side by side with", "at the side of"),
        mutual="yes",
        implies=("near",),
        opposites=("far from",),
    ),
    Row(
        "near",
        same=("close to",),
        read=("nearby", "near to", "by", "in the vicinity of", "close by"),
        mutual="yes",
        may=("next to",),
        opposites=("far from",),
    ),
    Row(
        "far from",
        same=("far away from",),
        mutual="yes",
        opposites=("near", "next to", "touching", "on", "inside"),
    ),
    Row("across from", same=("opposite",), read=("opposite to",), mutual="yes"),
    Row("between", read=("in between",)),
    Row("among", same=("amid",), read=("amongst",), mutual="maybe"),
    Row(
        "on",
        read=("on top of", "atop", "upon", "onto", "on the top of", "on the surface of"),
        implies=("near",),
        may=("above", "over", "in", "covering", "part of", "in front of"),
        opposites=("far from",),
    ),
    Row(
        "inside",
        same=("inside of",),
        read=(
            *("within", "enclosed in", "contained in", "contained within", "contained inside"),
            *("contained by", "enclosed by"),
        ),
        inverse="containing",
        implies=("in", "near"),
        may=("on",),
        opposites=("outside of", "far from"),
    ),
    Row("in", read=("into",), may=("on", "inside"), opposites=("outside of",)),
    Row("outside of", same=("outside",), mutual="maybe", opposites=("inside", "in")),
    Row("full of", same=("filled with",), inverse="in", implies=("containing",), spatial=False),
    Row(
        "larger than",
        same=("bigger than",),
        inverse="smaller than",
        opposites=("smaller than", "dwarfed by"),
        spatial=False,
    ),
    Row(
        "smaller than",
        inverse="larger than",
        opposites=("larger than", "dwarfing"),
        spatial=False,
    ),
    Row(
        "dwarfing",
        read=("dwarf", "dwarfs"),
        inverse="dwarfed by",
        implies=("larger than",),
        opposites=("dwarfed by", "smaller than"),
        spatial=False,
    ),
    Row(
        "dwarfed by",
        inverse="dwarfing",
        implies=("smaller than",),
        opposites=("dwarfing", "larger than"),
        spatial=False,
    ),
    Row("taller than", inverse="shorter than", opposites=("shorter than",), spatial=False),
    Row("shorter than", inverse="taller than", opposites=("taller than",), spatial=False),
    Row("parallel to", read=("parallel with",), mutual="yes", spatial=False),
    Row("connected to", read=("linked to", "joined to"), mutual="yes", spatial=False),
    Row("overlapping", read=("overlaps", "overlapping with"), mutual="yes", spatial=False),
    Row("attached to", read=("fixed to", "fastened to"), mutual="maybe", spatial=False),
    Row(
        "facing",
        read=("faces", "face", "facing toward", "facing towards"),
        mutual="maybe",
        opposites=("facing away from",),
        spatial=False,
    ),
    Row("facing away from", mutual="maybe", opposites=("facing",), spatial=False),
    Row(
        "looking at",
        read=(
            "look at",
            "looks at",
            "looking towards",
            "looking toward",
            "gazing at",
            "staring at",
        ),
        mutual="maybe",
        opposites=("looking away from",),
        spatial=False,
    ),
    Row("looking away from", mutual="maybe", opposites=("looking at", "watching"), spatial=False),
    Row(
        "talking to",
        same=("speaking to",),
        read=("talking with", "speaking with", "talks to", "talk to", "chatting with"),
        mutual="maybe",
        spatial=False,
    ),
    Row("leaning on", same=("leaning against",), mutual="maybe", spatial=False),
    Row("with", read=("together with", "accompanied by", "along with"), mutual="maybe"),
    Row("has", read=("have", "having", "had"), spatial=False),
    Row("part of", read=("a part of",), inverse="has", may=("on", "in"), spatial=False),
    Row("belonging to", read=("belongs to", "belong to", "owned by"), inverse="has", spatial=False),
    Row("hanging from", same=("suspended from",), read=("hung from",), spatial=False),
    Row("at", mutual="maybe"),
    Row("along", mutual="maybe"),
)

# The plain form, the form with "-ing" and the participle. "holding" has the inverse "held by".
VERBS = """
approach approaching approached; bite biting bitten; block blocking blocked; brush brushing brushed;
carry carrying carried; catch catching caught; chase chasing chased; clean cleaning cleaned;
climb climbing climbed; close closing closed; contain containing contained; cook cooking cooked;
cover covering covered; cut cutting cut; decorate decorating decorated; drink drinking drunk;
drive driving driven; drop dropping dropped; eat eating eaten; enter entering entered;
examine examining examined; feed feeding fed; fly flying flown; fold folding folded;
follow following followed; groom grooming groomed; guide guiding guided; herd herding herded;
hit hitting hit; hold holding held; hug hugging hugged; illuminate illuminating illuminated;
kick kicking kicked; kiss kissing kissed; lead leading led; leave leaving left; lick licking licked;
lift lifting lifted; milk milking milked; open opening opened;
observe observing observed; operate operating operated;
overlook overlooking overlooked; paint painting painted; pet petting petted;
photograph photographing photographed; pour pouring poured; prepare preparing prepared;
pull pulling pulled; push pushing pushed; read reading read; repair repairing repaired;
ride riding ridden; serve serving served; sniff sniffing sniffed; support supporting supported;
surround surrounding surrounded; throw throwing thrown; touch touching touched; tow towing towed;
use using used; wash washing washed; watch watching watched; wear wearing worn
"""

# Texts that are read as a verb, and what "held by" is called besides.
READ_AS = {
    "riding on": "riding",
    "rides on": "riding",
    "in the hand of": "held by",
    "in the hands of": "held by",
    "in hand of": "held by",
    "decorated with": "decorated by",
    "covered with": "covered by",
    "covered in": "covered by",
    "surrounded with": "surrounded by",
    "dressed in": "wearing",
}
# The inverse of these verbs is a word of its own.
INVERSES = {"containing": "inside"}
# Verbs that can be true both ways. Where one end can't act, they are true one way only.
MUTUAL_VERBS = frozenset(
    "approaching biting catching examining following grooming hitting holding hugging kicking kissing "
    "licking lifting overlooking petting photographing pulling pushing sniffing supporting touching "
    "washing watching".split()
)
ALWAYS_MUTUAL = frozenset({"touching"})
# Only people and animals do these.
NEEDS_ACTOR = frozenset(
    "biting brushing carrying catching chasing cleaning climbing cooking cutting decorating drinking driving "
    "dropping eating examining feeding folding grooming herding hitting hugging kicking kissing leading "
    "licking lifting milking opening operating painting petting photographing pouring preparing reading "
    "repairing riding serving sniffing throwing using washing watching wearing".split()
)
# What excludes a verb for the same subject and object, in this order as its negatives.
EXCLUSIVE = {
    "riding": ("leading", "pushing", "carrying", "chasing", "below"),
    "holding": ("dropping", "kicking", "chasing", "far from"),
    "carrying": ("riding", "kicking", "chasing", "far from"),
    "wearing": ("throwing", "folding", "kicking", "far from"),
    "eating": ("feeding", "kicking", "chasing", "far from"),
    "pushing": ("pulling", "riding"),
    "pulling": ("pushing",),
    "throwing": ("catching", "wearing"),
    "catching": ("throwing",),
    "opening": ("closing",),
    "closing": ("opening",),
    "entering": ("leaving",),
    "approaching": ("leaving",),
    "leading": ("following", "chasing", "riding"),
    "following": ("leading",),
    "chasing": ("leading", "holding", "riding", "feeding"),
    "feeding": ("chasing", "eating"),
    "driving": ("towing", "pushing"),
    "petting": ("chasing", "kicking"),
    "touching": ("far from",),
}
# Verbs that are false of boxes that are far apart.
CONTACT = frozenset(
    "covering hugging kissing riding touching wearing biting licking petting".split()
)
POSTURES = {
    "sitting": ("sitting", "seated", "sits", "sit"),
    "standing": ("standing", "stands", "stand"),
    "lying": ("lying", "laying", "lies", "lays"),
    "kneeling": ("kneeling", "kneels"),
    "walking": ("walking", "walks", "walk"),
    "running": ("running", "runs", "run"),
    "jumping": ("jumping", "jumps"),
    "parked": ("parked",),
    "hanging": ("hanging", "hangs", "hung"),
    "resting": ("resting", "rests"),
    "sleeping": ("sleeping", "sleeps"),
    "perched": ("perched", "perching"),
    "flying": ("flying", "flies"),
    "swimming": ("swimming",),
    "floating": ("floating", "floats"),
    "grazing": ("grazing",),
    "growing": ("growing", "grows"),
    "mounted": ("mounted",),
    "waiting": ("waiting", "waits"),
    "riding": ("riding", "rides"),
    "skiing": ("skiing",),
    "surfing": ("surfing",),
}
# A person is in one of these postures. (A bottle that stands on a table also sits on it.)
POSTURE_GROUPS = (
    frozenset({"sitting"}),
    frozenset({"standing", "walking", "running", "jumping"}),
    frozenset({"lying", "sleeping"}),
)
# Likely objects of a verb, which make hard negatives: "man riding bicycle" beside "man riding horse".
USUAL_OBJECTS = {
    "riding": "horse camel elephant bicycle motorcycle skateboard surfboard snowboard sled wagon",
    "eating": "pizza sandwich banana apple donut cake ice_cream carrot",
    "playing": "guitar violin drum trumpet piano",
    "driving": "tractor bus train boat",
    "flying": "kite airplane helicopter",
    "feeding": "giraffe elephant horse goat duck",
}
# What is at one place by one of these isn't so at another: a vase on a table isn't on a bed.
ONE_PLACE = frozenset({"on", "in", "inside", "riding", "part of", "hanging from"})
# Words before a preposition that add nothing: "located on".
FILLERS = frozenset(
    "located placed positioned situated seen visible found set directly stacked displayed".split()
)
AUXILIARIES = frozenset("is are was were be being been currently".split())
