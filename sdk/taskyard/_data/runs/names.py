"""Names of flow runs: two words that people can say and remember.

Names are for people only; two runs may have the same one.
"""

import random
from typing import Final


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ADJECTIVES: Final = _words(
    """
    able agile amber ample apt arctic autumn azure balmy bold brave breezy bright brisk bronze calm
    candid careful cheerful chilly civil clear clever coastal copper coral cosmic cosy crimson crisp
    curious dapper daring deft dewy distant eager early earnest easy ebony elegant fair famous fancy
    fast fearless festive fleet fluent fond frank free fresh frosty gentle giddy gilded glad
    gleaming golden graceful grand grateful green handy happy hardy hazel helpful honest humble icy
    ideal indigo ivory jade jaunty jolly jovial keen kind lavish light lilac lively lucid lucky
    lunar mellow merry mighty mild misty modest mossy neat nimble noble novel olive opal orange
    patient peaceful placid pleasant polite prime prompt proud quaint quick quiet rapid ready regal
    robust rosy ruby rugged rustic sage sandy scarlet serene sharp silent silver simple sincere
    sleek smart smooth snowy solar solid sonic spry stable steady stout sturdy subtle sunny swift
    tawny thrifty tidy topaz tranquil trusty upbeat urban valiant velvet vivid warm wavy wise witty
    young zesty
    """
)
ANIMALS: Final = _words(
    """
    adder albatross alpaca ant antelope auk avocet badger barbel bat beaver bee beetle bison bittern
    boar bobcat bongo bream buffalo bustard buzzard camel caracal caribou carp cheetah chinchilla
    chough cicada civet cod condor coot cormorant cougar coypu crab crane cricket curlew dace deer
    dingo dipper dolphin dormouse dove dragonfly duck dunlin eagle echidna eel egret eland elk emu
    ermine falcon ferret finch firefly fox frog fulmar gannet gazelle gecko gerbil gibbon giraffe
    gnu goat goldfinch goose grayling grebe grouse gull halibut hamster hare harrier hawk hedgehog
    heron herring hoopoe hornet horse ibex ibis iguana impala jackdaw jaguar jay kestrel kingfisher
    kite kiwi koala kudu ladybird lapwing lark lemming lemur leopard linnet lion lizard llama
    lobster locust lynx macaw mackerel magpie mallard manatee marlin marmot marten martin meerkat
    mole mongoose moorhen moose moth mouse mullet muskrat newt nightjar nuthatch ocelot octopus
    okapi orca oriole osprey ostrich otter owl oyster panda panther parrot partridge pelican penguin
    perch petrel pheasant pike pipit plaice plover polecat pony porpoise puffin puma quail rabbit
    raccoon raven redstart reindeer robin rook salmon sandpiper seal serval shrew siskin skink skua
    skylark snipe sparrow squid squirrel starling stoat stork sturgeon swallow swan swift tapir teal
    tern thrush tiger toad tortoise trout tuna turbot turtle viper vole wagtail walrus warbler
    weasel whale wigeon wolf wombat woodcock woodpecker wren yak zebra
    """
)


def new_flow_run_name(source: random.Random | None = None) -> str:
    """Return a name like ``brave-otter``.

    Args:
        source: Where randomness comes from; by default one of its own, so that a program which seeds
            the global generator does not get the same names each time.
    """
    choose = (source or _random).choice
    return f"{choose(ADJECTIVES)}-{choose(ANIMALS)}"


_random: Final = random.SystemRandom()
