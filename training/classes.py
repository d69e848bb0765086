"""Words that share a fold class: what is learnt about one of them holds for the others.

The classes go into the model file, so that serving folds exactly as training did. Only words that are neutral by
themselves stand here; a slur has a weight of its own.
"""

from __future__ import annotations

_GROUPS = """
women woman girls females female wives men males husbands boys feminists mothers
gay gays lesbian lesbians bisexual bisexuals queer queers homosexual homosexuals trans transgender transsexual
transsexuals transgenders lgbt lgbtq nonbinary intersex
black blacks white whites asian asians african africans latino latinos latina latinas hispanic hispanics arab arabs
arabic mexican mexicans indian indians pakistani pakistanis chinese japanese korean koreans vietnamese filipino
filipinos thai nigerian nigerians somali somalis ethiopian ethiopians moroccan moroccans turkish turks turk kurds
kurdish persian persians iranian iranians iraqi iraqis syrian syrians afghan afghans albanian albanians polish poles
romanian romanians bulgarian bulgarians russian russians ukrainian ukrainians greek greeks italian italians irish
german germans french english british american americans europeans brazilian brazilians cuban cubans haitian haitians
jamaican jamaicans caribbean bangladeshi bangladeshis nepali tamil tamils punjabi punjabis bengali aboriginal
aboriginals indigenous native natives maori maoris roma romani travellers sinti inuit
jew jews jewish muslim muslims islam islamic christian christians catholic catholics protestant protestants hindu
hindus sikh sikhs buddhist buddhists atheist atheists mormon mormons religious hijabi hijabis dalit dalits
israeli israelis palestinian palestinians
immigrant immigrants migrant migrants refugee refugees foreigner foreigners foreign asylum seekers illegals aliens
minority minorities
disabled disability disabilities autistic autism blind deaf wheelchair handicapped amputees downs bipolar
schizophrenic schizophrenics dyslexic
elderly old pensioners boomers boomer millennials teenagers poor homeless
"""

CLASSES: dict[str, str] = {
    "GROUP": _GROUPS,
    "YOU": "you your yours yourself yourselves u ur you're youre you've you'll you'd ya yall y'all",
    "ME": "i me my mine myself i'm im i've i'll i'd we us our ours we're we'll we've",
    "THEY": "they them their theirs themselves they're theyre they'll they've those these",
    "ONE": "he she him her his hers himself herself he's she's",
    "ALL": "all every most any each everyone everybody always ever only just",
    "NOT": "not no never none nobody nothing neither nor without cannot can't cant won't wont don't dont doesn't "
    "doesnt didn't didnt isn't isnt aren't arent wasn't wasnt weren't shouldn't shouldnt wouldn't couldn't hasn't "
    "haven't ain't aint stop against",
    "MUST": "should must ought need needs deserve deserves deserved shall supposed gonna going will wanna want",
    "SAID": "said says say saying called calls call calling told tell tells wrote writes shouted yelled tweeted posted "
    "claims claimed claim heard reads quote quoted word words slur",
    "QUOTE": '" \u201c \u201d \u00ab \u00bb',
    "KILL": "kill kills killed killing killer murder murders murdered murdering murderer shoot shoots shot shooting stab "
    "stabs stabbed stabbing strangle strangled strangling behead beheaded beheading execute executed executing execution "
    "slaughter slaughtered slaughtering massacre massacred lynch lynched lynching hang hanged hanging hung drown drowned "
    "drowning poison poisoned poisoning exterminate exterminated extermination annihilate eradicate gas gassed bomb "
    "bombed bombing behead choke choked choking assassinate assassinated suffocate suffocated smother smothered "
    "eliminate eliminated eliminating genocide gun guns bullet bullets",
    "HURT": "beat beats beating beaten punch punches punched punching kick kicks kicked kicking slap slapped slapping hit "
    "hits hitting hurt hurts hurting smash smashed smashing break breaks breaking broke broken crush crushed crushing "
    "burn burns burned burning burnt torture tortured torturing attack attacks attacked attacking whip whipped bash "
    "bashed bashing batter battered maim maimed cripple crippled knock knocked throttle throttled throw thrown ram "
    "destroy destroyed destroying injure injured wound wounded assault assaulted assaulting rape raped raping rapes",
    "WEAPON": "knife knives blade blades axe axes machete machetes hammer hammers bat rifle rifles pistol pistols handgun "
    "shotgun acid petrol gasoline molotov bomb bombs explosive explosives grenade rope noose sword club brick bricks "
    "crowbar baton razor razors scissors firearm firearms ammo ammunition weapon weapons",
    "GORE": "blood bloody bled bleed bleeding guts gut intestines entrails brains skull skulls flesh corpse corpses "
    "severed dismember dismembered dismembering mutilate mutilated mutilating mutilation decapitate decapitated "
    "gore gory bone bones spine ribs throat throats carcass limbs limb gash gashes slit slash slashed slashing "
    "disembowel disembowelled disemboweled impaled impale splattered spilled spilling wound wounds rotting charred "
    "twitching gurgling screaming screamed screams agony",
    "DIE": "die dies died dying dead death deaths deceased grave graves coffin funeral corpse buried bury",
    "FEAR": "afraid regret watch careful warning warned warn sorry tonight tomorrow soon coming find know where live lives "
    "address door house home school work car alone safe hide run waiting outside family kids children mother wife",
    "SELFHARM": "suicide suicidal overdose overdosed overdosing od selfharm cutting cut cuts wrist wrists pills "
    "pill unalive kms disappear vanish jump bridge ledge noose razor scars scar starve starving purge purging anorexia "
    "bulimia ana mia thinspo hopeless worthless burden numb goodbye note tired end ending paracetamol tylenol",
    "SEX": "sex sexual sexy porn porno pornography nude nudes naked erotic erotica orgasm orgasms orgasmed horny aroused "
    "arousal masturbate masturbated masturbating masturbation climax climaxed moan moaned moaning moans thrust thrusts "
    "thrusting fondle fondled fondling grope groped groping undress undressed undressing strip stripped stripping lick "
    "licked licking suck sucked sucking sucks blowjob handjob bdsm kinky kink fetish seduce seduced seduction hookup "
    "escort escorts hooker hookers prostitute prostitutes intercourse foreplay cum cumming wet hard erection erect "
    "penetrate penetrated penetration ejaculate ejaculated onlyfans camgirl lust lustful lingerie panties bra topless "
    "threesome orgy stripper strippers seductive seductively spank spanked spanking dildo vibrator condom",
    "BODY": "breast breasts boob boobs tit tits titties nipple nipples ass arse butt cock dick penis vagina pussy clit "
    "clitoris thigh thighs crotch groin lap lips tongue hips cleavage genitals testicles balls shaft cunt anus skin "
    "neck mouth",
    "SWEAR": "fuck fucks fucked fucking fuckin fucker fuckers motherfucker motherfuckers motherfucking shit shits shitty "
    "shitting bullshit damn damned goddamn dammit bitch bitches bitching bastard bastards asshole assholes arsehole "
    "dickhead dickheads prick pricks piss pissed pissing crap crappy bollocks bloody wanker wankers twat twats bugger "
    "bellend tosser arse cunts dumbass jackass dipshit douche douchebag wtf stfu lmfao hell",
    "INSULT": "idiot idiots idiotic moron morons moronic stupid dumb dumber dumbest fool fools foolish loser losers "
    "pathetic clown clowns joke imbecile imbeciles dunce dimwit halfwit nitwit numpty ugly fat hideous repulsive gross "
    "disgusting worthless useless coward cowards cowardly liar liars fraud trash garbage scum scumbag filth waste creep "
    "creepy weirdo freak freaks jerk jerks snake pig pigs cow donkey goblin troll trolls hag witch brainless clueless "
    "spineless talentless incompetent ignorant illiterate failure embarrassment disgrace deluded "
    "delusional pathological psycho lunatic simpleton airhead bonehead thick dense dim slow lazy smelly stink stinks "
    "stinking bald nobody nonce hypocrite sheep parasite leech brat crybaby snowflake vile toxic toad rat slob muppet",
    "VERMIN": "vermin cockroach cockroaches roach roaches rats lice fleas maggots insects pest pests plague disease "
    "diseases diseased virus cancer infection infest infested infesting infestation parasites leeches animals animal "
    "beasts beast savage savages subhuman subhumans apes ape monkeys monkey barbarians barbaric primitive filthy dirty "
    "dirt uncivilised uncivilized mongrel mongrels swarm swarms horde hordes flood scourge contaminate polluting unclean "
    "impure degenerate degenerates abomination abominations perverts pervert perverted deviant deviants demons demonic "
    "satanic evil poisonous rotten sewer",
    "INFERIOR": "inferior superior lesser incapable unintelligent backward backwards uncultured defective genes genetics "
    "genetic iq breed breeding breeds race races racial bloodline pure purity supremacy supreme master natural "
    "nature brain emotional hysterical irrational weak weaker unfit slaves slave slavery servants property kitchen "
    "obey submissive place belong equal rights vote",
    "EXPEL": "deport deported deporting deportation deportations expel expelled ban banned banning remove removed removing "
    "cleanse cleansed cleansing purge eradicate send sent ship shipped kick back invade invaded invading invasion "
    "invaders replace replaced replacing replacement takeover conquer conquering overrun border wall jungle camps camp "
    "sterilise sterilised sterilize sterilized segregate segregated intern rid wiped wipe",
    "CRIME": "criminal criminals crime crimes thief thieves steal stealing stole rapists rapist terrorist terrorists "
    "terrorism terror gang gangs thugs thug pedophile pedophiles paedophile paedophiles pedo pedos groomer groomers "
    "grooming molester molesters predator predators drug dealers scammer scammers greedy greed cheat cheats cheating "
    "jihad jihadi bombers violent dangerous threat",
    "DEGRADE": "whore whores slut sluts slutty hoe hoes thot thots skank skanks tramp bimbo bimbos gold digger diggers "
    "femoid femoids foid foids roastie roasties cunt feminazi feminazis simp simps cuck cucks broad broads chick chicks",
    "HATE": "hate hates hated hating despise despises despised detest loathe loathing disgust disgusts "
    "disgusted sick sickening sickens",
    "LOVE": "love loves loved loving thank thanks grateful welcome proud pride respect respects respected support supports "
    "supported friend friends friendly kind kindness beautiful wonderful amazing lovely brilliant helpful happy "
    "celebrate celebrated celebrating celebration honour honored glad congratulations appreciate admire enjoy enjoyed "
    "hope peace solidarity",
    "RIGHT": "equality equal discrimination discriminate discriminated racism racist racists sexism sexist homophobia "
    "homophobic transphobia transphobic antisemitism antisemitic islamophobia xenophobia prejudice prejudiced bigot "
    "bigots bigotry stereotype stereotypes harassment harassed unacceptable wrong false lie untrue offensive hurtful "
    "hateful abusive cruel condemn condemned condemns challenge report reported victim victims survivor survivors "
    "justice inclusive inclusion diversity",
    "NEWS": "police court jury judge trial charged arrested sentenced convicted officers officer detective investigation "
    "investigators officials reported report reports according authorities suspect witnesses witness article newspaper "
    "documentary film movie novel book chapter series episode scene story history historian historical war museum "
    "memorial century government minister parliament law study research researchers university survey data",
    "MEDICAL": "doctor doctors nurse nurses hospital patient patients clinic surgery surgeon surgical therapy therapist "
    "treatment treat symptoms medication medicine diagnosis diagnosed health mental helpline hotline counsellor counselor "
    "counselling crisis prevention support exam examination screening mammogram gynaecologist dermatologist vaccine "
    "biopsy infection recover recovery recovering ward ambulance psychiatrist",
    "GAME": "game games gaming player players level boss zombie zombies respawn raid quest dragon dragons npc minecraft "
    "fortnite lol xp mod server match team goal score scored football chess recipe process thread command server code "
    "script program function bug computer linux task printer battery mosquito mosquitoes weeds ants spider joke pun "
    "comedian comedy laughing workout gym marathon deadline exam traffic",
}


def fold_classes() -> dict[str, list[str]]:
    """Class name to its words, as the model file keeps them; a word belongs to the first class that names it."""
    taken: set[str] = set()
    classes = {}
    for name, words in CLASSES.items():
        classes[name] = sorted(set(words.split()) - taken)
        taken.update(classes[name])
    return classes
