"""The verbs of HICO-DET and the object classes of COCO, which its JSON files have by number only."""

# By id, which begins at 1; the one without a name is "no interaction".
VERBS = (
    *("adjusting", "assembling", "blocking", "blowing", "boarding", "breaking", "brushing with"),
    *("buying", "carrying", "catching", "chasing", "checking", "cleaning", "controlling"),
    *("cooking", "cutting", "cutting with", "directing", "dragging", "dribbling"),
    *("drinking with", "driving", "drying", "eating", "eating at", "exiting", "feeding"),
    *("filling", "flipping", "flushing", "flying", "greeting", "grinding", "grooming"),
    *("herding", "hitting", "holding", "hopping on", "hosing", "hugging", "hunting"),
    *("inspecting", "installing", "jumping", "kicking", "kissing", "lassoing", "launching"),
    *("licking", "lying on", "lifting", "lighting", "loading", "losing", "making", "milking"),
    *("moving", "", "opening", "operating", "packing", "painting", "parking", "paying"),
    *("peeling", "petting", "picking", "picking up", "pointing", "pouring", "pulling"),
    *("pushing", "racing", "reading", "releasing", "repairing", "riding", "rowing", "running"),
    *("sailing", "scratching", "serving", "setting", "shearing", "signing", "sipping"),
    *("sitting at", "sitting on", "sliding", "smelling", "spinning", "squeezing", "stabbing"),
    *("standing on", "standing under", "sticking", "stirring", "stopping at", "straddling"),
    *("swinging", "tagging", "talking on", "teaching", "texting on", "throwing", "tying"),
    *("toasting", "training", "turning", "typing on", "walking", "washing", "watching"),
    *("waving", "wearing", "wielding", "zipping"),
)
OBJECTS = {
    **{1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane", 6: "bus"},
    **{7: "train", 8: "truck", 9: "boat", 10: "traffic light", 11: "fire hydrant"},
    **{13: "stop sign", 14: "parking meter", 15: "bench", 16: "bird", 17: "cat", 18: "dog"},
    **{19: "horse", 20: "sheep", 21: "cow", 22: "elephant", 23: "bear", 24: "zebra"},
    **{25: "giraffe", 27: "backpack", 28: "umbrella", 31: "handbag", 32: "tie"},
    **{33: "suitcase", 34: "frisbee", 35: "skis", 36: "snowboard", 37: "sports ball"},
    **{38: "kite", 39: "baseball bat", 40: "baseball glove", 41: "skateboard"},
    **{42: "surfboard", 43: "tennis racket", 44: "bottle", 46: "wine glass", 47: "cup"},
    **{48: "fork", 49: "knife", 50: "spoon", 51: "bowl", 52: "banana", 53: "apple"},
    **{54: "sandwich", 55: "orange", 56: "broccoli", 57: "carrot", 58: "hot dog"},
    **{59: "pizza", 60: "donut", 61: "cake", 62: "chair", 63: "couch", 64: "potted plant"},
    **{65: "bed", 67: "dining table", 70: "toilet", 72: "tv", 73: "laptop", 74: "mouse"},
    **{75: "remote", 76: "keyboard", 77: "cell phone", 78: "microwave", 79: "oven"},
    **{80: "toaster", 81: "sink", 82: "refrigerator", 84: "book", 85: "clock", 86: "vase"},
    **{87: "scissors", 88: "teddy bear", 89: "hair drier", 90: "toothbrush"},
}
WITHOUT_ARTICLE = ("skis", "scissors", "broccoli")
