"""Everyday nouns, as data. `nouns.py` reads it.

A line of a category holds words any of which a reader may say for another (synonyms, kinds, and what is
easily confused). A thing is replaced by the first word of another line of its category, but for lines that
begin with "-": these things are in many photos without being named. Leave out what is in most of them: parts of
bodies and of things, ground, sky, shirts and shoes. Underscores stand for spaces.
"""

CATEGORIES = {
    "animal": """
        dog puppy hound poodle bulldog retriever dalmatian wolf fox
        cat kitten
        horse pony foal mare colt stallion donkey mule
        cow bull calf ox cattle buffalo bison yak bovine
        sheep lamb ram goat
        elephant
        giraffe
        zebra
        bear polar_bear panda grizzly cub
        monkey ape gorilla chimpanzee baboon
        pig piglet hog boar
        rabbit bunny hare
        lion lioness
        tiger
        turtle tortoise
        deer elk moose antelope gazelle reindeer
        kangaroo
        penguin
        owl
        camel llama alpaca
    """,
    "bird": """
        duck goose swan mallard duckling gosling
        chicken hen rooster turkey
        parrot parakeet cockatiel macaw
        seagull gull pigeon dove
        eagle hawk falcon vulture
        flamingo
        peacock
    """,
    "vehicle": """
        - car van truck taxi suv jeep pickup_truck pickup minivan sedan cab automobile fire_truck hatchback
        - bicycle bike tricycle tandem
        motorcycle motorbike scooter moped
        bus coach double_decker
        train locomotive tram trolley streetcar subway engine
        airplane plane jet aircraft biplane seaplane glider airliner jetliner
        boat ship sailboat canoe kayak yacht ferry raft barge vessel gondola rowboat speedboat
        helicopter
        tractor bulldozer excavator
        wagon carriage cart buggy
        hot_air_balloon balloon
    """,
    "board": """
        skateboard longboard
        surfboard paddleboard bodyboard wakeboard
        snowboard
        ski
        sled sleigh toboggan
    """,
    "furniture": """
        bed mattress bunk cot crib
        couch sofa loveseat armchair chair bench stool recliner ottoman seat rocking_chair futon
        table desk counter countertop nightstand dining_table coffee_table end_table
        bookshelf shelf bookcase cabinet cupboard dresser wardrobe drawer
    """,
    "kitchen appliance": """
        refrigerator fridge freezer
        oven stove microwave toaster_oven stovetop range
        toaster
        dishwasher washing_machine dryer
        blender mixer
        coffee_maker coffee_machine kettle teapot
    """,
    "device": """
        laptop computer notebook desktop monitor computer_monitor screen tablet pc
        television tv
        phone cell_phone cellphone smartphone mobile_phone telephone
        camera video_camera camcorder
        keyboard piano
        mouse computer_mouse
        remote remote_control controller game_controller wii_remote
        lamp lantern chandelier light lampshade floor_lamp table_lamp
        clock watch wristwatch
        radio stereo
        printer scanner
        ceiling_fan
    """,
    "tableware": """
        cup mug glass bottle wine_glass jar pitcher tumbler wine_bottle beer_bottle can
        plate dish bowl tray saucer platter pan pot
        fork
        spoon ladle spatula
        knife scissors
        chopstick
        candle candlestick candle_holder
        vase flower_pot planter
    """,
    "fruit": """
        apple pear peach nectarine plum
        banana plantain
        orange tangerine mandarin clementine grapefruit lemon lime citrus
        strawberry raspberry cherry blueberry berry
        grape
        pineapple
        watermelon melon
        kiwi
    """,
    "vegetable": """
        carrot
        broccoli cauliflower
        tomato
        cucumber zucchini pickle
        potato sweet_potato
        corn
        mushroom
        pumpkin squash
        onion garlic shallot
    """,
    "dish": """
        pizza flatbread
        sandwich burger hamburger cheeseburger sub panini wrap burrito taco hot_dog hotdog
        cake cupcake muffin pie pastry brownie
        donut doughnut bagel pretzel
        - salad
        - soup stew
        sushi
        pasta spaghetti noodle
        ice_cream sundae gelato
        pancake waffle
    """,
    "worn": """
        helmet hat cap beanie hard_hat cowboy_hat visor
        - tie bow_tie necktie
        scarf shawl
        - backpack bag handbag purse suitcase luggage tote satchel
        - glasses sunglasses goggles eyeglasses
        crown tiara
        apron
        wig
        life_jacket life_vest vest
        - mask
    """,
    "sport equipment": """
        tennis_racket racket racquet paddle badminton_racket
        baseball_bat bat
        frisbee disc
        kite
        golf_club
        ski_pole
        - baseball_glove mitt
        hockey_stick
        volleyball
        basketball
        football
    """,
    "toy": """
        teddy_bear stuffed_animal stuffed_bear plush
        doll action_figure
        toy_car toy_truck
        kite
    """,
    "instrument": """
        guitar ukulele banjo
        violin viola cello fiddle
        drum drum_set
        trumpet trombone tuba horn
        flute clarinet saxophone
        accordion
    """,
    "street furniture": """
        fire_hydrant hydrant
        parking_meter meter
        mailbox postbox
        - traffic_light stoplight traffic_signal
        stop_sign
        phone_booth
        - trash_can garbage_can bin dumpster recycling_bin trash_bin
        fountain
        statue sculpture monument
    """,
    "building": """
        - house cottage cabin hut home
        church cathedral chapel temple
        barn stable shed
        - tower clock_tower skyscraper
        lighthouse
        castle palace
        tent teepee
        windmill
        bridge overpass
        stadium arena
        gazebo pavilion
    """,
    "bathroom fixture": """
        toilet
        bathtub tub bath
        sink basin
        shower
        towel hand_towel
        toilet_paper
    """,
    "thing of paper": """
        book notebook magazine novel album
        newspaper
        map
        envelope letter
        box cardboard_box carton crate
    """,
    "thing of cloth": """
        blanket quilt comforter bedspread
        pillow cushion
        curtain drape
        umbrella parasol
        flag banner
    """,
    "landscape": """
        - mountain hill cliff peak
        ocean sea lake river pond
        desert
        waterfall
        volcano
    """,
    "tool": """
        hammer mallet
        screwdriver
        shovel spade
        broom mop
        ladder
        rope
        saw
        toothbrush
        hairbrush comb
        pen pencil marker crayon
    """,
    "shape": """
        circle disk
        square rectangle
        triangle
        star
        cross
        ring
        pentagon
        hexagon
    """,
}
# "A man in front of a mirror" may face it: then the mirror is in front of the man, too, and isn't behind him.
# Nobody means that of what is in these categories, or of these things.
BACKDROPS = (
    frozenset({"animal", "bird", "vehicle", "building", "street furniture", "landscape"}),
    frozenset("tree bush fence wall building forest hedge plant flower rock gate".split()),
)
# What is behind a thing is in front of it, too, if it is all around.
ALL_AROUND = frozenset(
    "grass field ground snow sand water dirt floor road street sidewalk beach pavement path ocean sea "
    "lake river".split()
)
# The things of these categories are often together, named or not: a kitchen with an oven has a sink. So where
# one of them might be there as well, it is replaced by what is out of place.
OUT_OF_PLACE = {
    "furniture": ("vehicle", "street furniture"),
    "kitchen appliance": ("vehicle", "instrument"),
    "device": ("instrument", "sport equipment"),
    "tableware": ("sport equipment", "instrument"),
    "fruit": ("vegetable",),
    "vegetable": ("fruit",),
    "bathroom fixture": ("vehicle", "instrument"),
    "thing of paper": ("sport equipment", "instrument"),
    "thing of cloth": ("sport equipment", "instrument"),
}
# Words for anything of a category.
BROAD = {
    "animal": "animal pet wildlife livestock creature pack herd",
    "bird": "bird animal pet wildlife fowl poultry",
    "vehicle": "vehicle traffic transport",
    "board": "board equipment gear",
    "furniture": "furniture",
    "kitchen appliance": "appliance",
    "device": "device electronics equipment gadget appliance",
    "tableware": "tableware utensil dinnerware cutlery silverware container drink beverage dishware",
    "fruit": "fruit food produce snack",
    "vegetable": "vegetable food produce veggie topping snack",
    "dish": "food meal dessert snack dinner lunch breakfast",
    "worn": "accessory clothing clothes outfit uniform gear equipment costume",
    "sport equipment": "equipment gear toy",
    "toy": "toy",
    "instrument": "instrument musical_instrument",
    "street furniture": "sign",
    "building": "building structure architecture",
    "bathroom fixture": "fixture",
    "thing of paper": "paper stationery",
    "thing of cloth": "fabric cloth linen bedding",
    "landscape": "landscape scenery nature water",
    "tool": "tool equipment supply",
    "shape": "shape figure",
}
# Nobody knows whether these can act.
AMBIGUOUS = frozenset("mouse bat crane pitcher cook speaker fan toy".split())
# People are kinds of one another, except that women aren't men.
MALE = frozenset(
    "man boy gentleman guy groom father dad grandfather policeman fireman businessman husband "
    "brother son king waiter cowboy".split()
)
FEMALE = frozenset(
    "woman girl lady bride mother mom grandmother policewoman businesswoman wife sister daughter "
    "queen waitress".split()
)
PEOPLE = (
    MALE
    | FEMALE
    | frozenset(
        "person people child kid baby infant toddler adult teenager pedestrian player rider skier "
        "skateboarder snowboarder surfer catcher pitcher batter umpire referee coach chef cook driver "
        "passenger student teacher officer soldier worker vendor customer audience crowd spectator "
        "athlete golfer runner cyclist biker motorcyclist dancer musician singer performer actor doctor "
        "nurse farmer fisherman swimmer diver tourist traveler commuter guest friend couple family team "
        "human firefighter photographer barista bartender judge bicyclist jockey pilot sailor shopper "
        "skater speaker fan shepherd hiker parent individual clown".split()
    )
)
# Endings of nouns that are most likely people.
PEOPLE_ENDINGS = ("boarder", "player", "rider", "man", "woman", "men", "women", "ist", "person")
# What a name is replaced by: only where these two are the only kinds of people that the photo can have.
PEOPLE_SWAPS = {"man": "woman", "woman": "man", "boy": "girl", "girl": "boy"}

# Attributes that exclude each other, unless they are on one line.
ATTRIBUTES = {
    "color": """
        red pink orange maroon crimson
        yellow gold golden beige tan
        green olive teal turquoise
        blue navy turquoise teal
        purple violet pink maroon
        white silver beige cream light
        black dark
        brown tan beige maroon orange
        gray grey silver
    """,
    "material": """
        wooden wood
        metal metallic steel iron
        glass
        plastic
        leather
        concrete stone brick
    """,
    "age": """
        young baby little
        old elderly
    """,
    "state": """
        open opened
        closed shut
    """,
}
# These are things of their own: a red panda isn't a panda that is red.
FIXED = frozenset(
    "red_panda red_wine white_wine black_pepper green_bean orange_juice brown_rice white_board "
    "black_board yellow_pages golden_retriever glass_door wine_glass hot_dog teddy_bear stuffed_bear "
    "toy_car toy_truck toy_boat toy_train rocking_horse fire_truck polar_bear computer_mouse "
    "baseball_bat ice_cream stuffed_animal sea_horse action_figure cell_phone parking_meter "
    "baby_elephant toilet_paper tennis_ball orange_slice traffic_light stop_sign red_light green_light "
    "old_fashioned young_adult black_bear brown_bear white_house blue_jay golf_ball golf_club "
    "remote_control gold_fish fire_hydrant hot_air_balloon bow_tie hard_hat".split()
)
