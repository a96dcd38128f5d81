"""Common English words, so that the tiny tokenizers have a token for most of what anyone asks.
Words alone, in the order of the alphabet: no sentence of any data set or benchmark is made of them here."""

WORDS = tuple(
    """
    a about above across add after again against ahead air all almost alone along already also always am among an
    and angle animal another answer any anyone anything apart appear are area around arrange as ask aside assistant at
    away back background backward based be because been before behind being below beneath beside between beyond big
    bigger bit black blue body both bottom box boxes bright brown building buildings but by camera can cannot caption
    car carry center centre centimeters certain chair chairs change child choice choices choose city clear clearly
    close closer closest clockwise color colored colors colour colours come common compare compared concise consider
    contain contains content correct corner could count counted course dark deep degrees depth describe description
    detail details did differ difference different direction directions directly display distance distances do does
    dog done door doors down downward draw drawn driver each edge eight either eleven else empty end enough entire
    equal estimate even every everything exactly example eye eyes face faced faces facing fact fair false far farther
    farthest few field fifteen fifty find first five flat floor follow following for foreground forty forward found
    four fourteen from front full further furthest gaze general give given gives go going good gray great green ground
    grey group had half hand happen hard has have he head headed heading heads hear height help her here high higher
    him his hold horizontal house houses how human hundred i if image images imagine in indoor inside instead into is
    it item items its itself just keep kind kinds know label large larger last later leave left leftmost leftward
    length less let letter level lie lies light like line list little local locate located location long longer look
    looking looks low lower main make makes man many match may me mean measure mention meter meters metre metres
    middle might mine minus mirror more most mostly mountain move moves much must my name named names near nearby
    nearer nearest necessary need neither never new next nine no nobody none nor north not nothing now number object
    objects observe observer of off often old on once one only open opposite option options or orange order orient
    orientation oriented other others our out outdoor outside over own page pair parallel part particular parts past
    people perpendicular person perspective photo photograph pick picture pictured pictures pink place placed places
    plain plane point pointed pointing points position positioned positions possible present probably purple put
    question questions quick quickly quite rather reach read ready real red relation relative remain reply report
    respond response rest right rightmost rightward road room rotate rotated round rule same saw say says scene scenes
    second see seem seems seen sentence separate set seven several shape she short shorter should show showing shown
    shows side sides sideways sight similar simple simply single sit sits situated six size sizes sky slightly small
    smaller so some someone something sort south space speak stand standing stands start state still stop straight
    street such sure surface table take taken tell ten than that the their them then there these they thing things
    think third this those three through tilted time to together tool top total touch toward towards tree trees true
    truth turn turned turning turns twelve twenty twice two type under until up upon upper upright upward us use used
    user uses usually value very vehicle vehicles vertical view viewed viewer viewing viewpoint views visible visual
    wall was watch watching way ways we well were west what whatever when where whether which while white who whole
    whom whose why wide will window windows with within without woman wood word words work would write written wrong
    yard year yellow yes yet you your
    airplane airplanes bed beds bicycle bicycles bus buses cabinet cabinets cars cow cows cyclist dogs duck ducks horse
    laptop laptops motorcycle motorcycles mug mugs pedestrian shoe shoes sofa sofas teapot teapots television
    televisions truck trucks van vans cameras
    azimuth elevation estimated roughly approximately
    """.split()
)
