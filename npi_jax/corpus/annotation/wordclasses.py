"""Word classes of English in lower case, by which the annotator recognizes the boundaries of clauses."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


AUXILIARIES = _words(
    "has have had having do does did will would can could shall should may might must is are was were "
    "am ca wo sha ai 'll 've 're 'm 'd ’ll ’ve ’re ’m ’d"
)
MODALS = _words("will would can could shall should may might must do does did 'll ’ll 'd ’d wo sha ca")
# Abbreviations: a period after them does not end the sentence.
ABBREVIATED = _words("cent co no vol p pp ch fig a b c d e f g h i j k l m n o q r s t u v w x y z")
BEFORE_IS = _words("everything everyone everybody nobody nothing something that who what here where how")
TIMES = _words(
    "day days night nights morning evening afternoon week month year hour minute summer winter spring autumn "
    "sunday monday tuesday wednesday thursday friday saturday"
)
NOT_FINITE = _words("having")
BE = _words("be been being")
COORDINATORS = _words("and or")
CONJUNCTIONS = _words("and or but so then now well")
NUMBERS = _words("one two three four five six seven eight nine ten twelve twenty thirty fifty hundred half")
IRREGULAR_PLURALS = _words("men women people children fish police gentlemen sheep feet teeth mice")
PARTICLES = _words("yet too else indeed however therefore all")
DETERMINERS = _words("the a an this these those my your his her its our their some many few several")
PRONOUNS = _words("i he she we they you it there")
WH_WORDS = _words("who whom whose which what when where why how")
RELATIVIZERS = _words("who whom whose which")
SUBORDINATORS = _words("while because when")
CONCESSIVES = _words("although though whereas")
PREPOSITIONS = _words("of in on at by for from with to into upon about near behind outside")
BREAKS = _words("; : -- - — – \" “ ” `` '' ( ) ... …")
DASHES = _words("- -- – —")
QUOTES = _words("\" “ ” `` ''")
ENDINGS = _words(". ? ! ; : , \" ” '' ) ' ’ ... …")
# "But" means "except" after these.
NEGATED = _words("nobody nothing none nowhere no-one anything anyone anybody everything everyone all neither one")
NOT_A_NOUN = PREPOSITIONS | BREAKS | ENDINGS

# "That" opens a complement clause after these, and a relative clause after other words.
COMPLEMENT_VERBS = _words(
    "say says said saying think thinks thought thinking claim claims claimed believe believes "
    "believed suggest suggests suggested know knows knew known learn learns learned remember "
    "remembers remembered discover discovers discovered hope hopes hoped suppose supposed feel feels "
    "felt find finds found see sees saw seen hear heard tell told wish wished swear swore sworn deny "
    "denied doubt doubted argue argued show showed shown declare declared insist insisted agree "
    "agreed announce announced admit admitted understand understood fear feared imagine imagined "
    "perceive perceived conclude concluded notice noticed realize realized explain explained sure "
    "certain afraid aware glad sorry possible impossible likely true clear me him her us them you so "
    "now fact idea belief thought news feeling sense impression notion knowledge hope proof "
    "conception suspicion chance possibility evidence sign indication"
)
ASKING_VERBS = _words(
    "wonder wonders wondered wondering wonderin ask asks asked asking care cares cared matter matters mattered sure "
    "certain misdoubt "
    "know knows knew known see sees saw seen tell tells told "
    "doubt doubted doubts doubtful inquire inquired enquire enquired learn learns learned remember "
    "remembers remembered discover discovers discovered find found"
)
WONDERING_VERBS = _words(
    "wonder wonders wondered wondering wonderin ask asks asked asking inquire inquired enquire enquired"
)

# Finite verbs that are not past forms in "-ed".
IRREGULAR_VERBS = _words(
    "met left found saw bought sold lost hid stole forgot said thought knew wonder wonders ask asks "
    "know knows learn learns remember remembers discover discovers say says think thinks claim claims "
    "believe believes suggest suggests came went took gave made got told felt became began brought "
    "built broke caught chose cut drew drank drove ate fell fought flew froze grew hung heard held "
    "hit hurt kept laid led lent let lay lit meant paid put read rode rang rose ran sought sent set "
    "shook shone shot showed shut sang sank sat slept slid spoke spent sprang stood stuck struck "
    "swore swept swam taught tore threw understood woke wore won wrote seemed seems looks looked "
    "wants means makes takes gives comes goes gets tells feels becomes"
)
NOT_PAST = _words("need indeed red bed hundred deed seed speed feed weed reed sacred kindred naked wicked exceed")
ADVERBS = _words(
    "also ever never always often sometimes just still even only soon already now then once really "
    "quite rather very perhaps seldom not n't n’t almost"
)
NOT_SUPERLATIVE = _words(
    "west rest test guest interest honest modest request forest nest chest harvest protest suggest "
    "contest earnest arrest priest quest invest digest manifest crest jest pest vest behest conquest "
    "tempest breast dishonest southwest northwest everest inquest bequest molest detest attest divest "
    "ingest infest"
)

CLOSED = (
    frozenset(word for words in tuple(globals().values()) if isinstance(words, frozenset) for word in words)
    - NOT_SUPERLATIVE
    - NOT_PAST
)
"""All words of the classes above, except those that only look like a superlative or a past form."""
