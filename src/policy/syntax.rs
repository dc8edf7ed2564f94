//! The kinds of tokens and nodes of the lossless syntax tree.
//!
//! Every byte of the source is in exactly one token, comments and spaces included, so that the text of the tree
//! is the source again, whatever the source holds. Nodes start at their first significant token; trivia before
//! it belongs to the parent.

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident,)*) => {
        /// What a token or a node is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum SyntaxKind {
            $($(#[$doc])* $kind,)*
        }

        const ALL: &[SyntaxKind] = &[$(SyntaxKind::$kind,)*];
    };
}

kinds! {
    /// Spaces, tabs and line ends.
    Whitespace,
    /// `// …` or `# …` to the end of the line.
    Comment,
    /// A name or a word of the language.
    Ident,
    /// `42`, `0.05`, `1_000_000`.
    Number,
    /// A number with letters right behind it: `24h`, `500us`.
    Duration,
    /// `2026-01-31`, `2026-01-31T08:30`.
    Date,
    /// `"…"`.
    Text,
    /// `{`.
    LBrace,
    /// `}`.
    RBrace,
    /// `(`.
    LParen,
    /// `)`.
    RParen,
    /// `,`.
    Comma,
    /// `:`.
    Colon,
    /// `.`.
    Dot,
    /// `?`.
    Question,
    /// `=`.
    Assign,
    /// `==`.
    EqEq,
    /// `!=`.
    Ne,
    /// `<`.
    Lt,
    /// `<=`.
    Le,
    /// `>`.
    Gt,
    /// `>=`.
    Ge,
    /// `+`.
    Plus,
    /// `-`.
    Minus,
    /// `*`.
    Star,
    /// `/`.
    Slash,
    /// `->`.
    Arrow,
    /// `=>`.
    FatArrow,
    /// `|`.
    Pipe,
    /// Anything else, and text without its closing quote.
    Unknown,

    /// The whole source.
    Root,
    /// `policy NAME revision N`.
    PolicyDecl,
    /// `use "FILE"`.
    UseDecl,
    /// `entity NAME, …`.
    EntityDecl,
    /// `reason NAME ID { … }`.
    ReasonDecl,
    /// One line of a reason.
    ReasonItem,
    /// `queue NAME ID`.
    QueueDecl,
    /// `event NAME [amends OTHER] { … }`.
    EventDecl,
    /// `amends OTHER`.
    AmendsClause,
    /// `NAME: TYPE`.
    FieldDecl,
    /// A type, with its words when it is an enum.
    TypeRef,
    /// `list NAME of KIND { … }`.
    ListDecl,
    /// `VALUE until DATE owner "…" reason "…"`.
    ListEntry,
    /// `of ENTITY`.
    OfClause,
    /// `rates "NAME" max_age DURATION`.
    RatesDecl,
    /// `let NAME on EVENT = EXPR`.
    LetDecl,
    /// `feature NAME …`.
    FeatureDecl,
    /// `by ENTITY`, `by (ENTITY, ENTITY)`.
    ByClause,
    /// `via EVENT.FIELD, …`.
    ViaClause,
    /// `last DURATION`, `last N events within DURATION`.
    LastClause,
    /// `every DURATION`.
    EveryClause,
    /// `this hour|day|week|month`.
    ThisClause,
    /// `session gap DURATION within DURATION`.
    SessionClause,
    /// `in "zone"` of a feature.
    ZoneClause,
    /// `against FRAME [delayed DURATION]`.
    AgainstClause,
    /// `half_life DURATION`.
    HalfLifeClause,
    /// `delayed DURATION`.
    DelayedClause,
    /// `assume high|low`.
    AssumeClause,
    /// `scorecard NAME on EVENT { … }`.
    ScorecardDecl,
    /// `base N`.
    BaseItem,
    /// `EXPR { BIN, … }`.
    ScoreInput,
    /// `CELL: POINTS`, `else: POINTS`.
    Bin,
    /// `table NAME on EVENT … first|all (EXPR, …) { CELL | CELL => … }`, `table NAME on EVENT … first|all = "FILE"`.
    TableDecl,
    /// The file of a table: COLUMNs, then TABLE_ROWs.
    TableFile,
    /// The file of a list.
    ListFile,
    /// A cell of a list's file: an entry.
    EntryCell,
    /// Until when it counts.
    UntilCell,
    /// Who wants it there.
    OwnerCell,
    /// Why.
    ReasonCell,
    /// The expression of a column.
    Column,
    /// `CELL | CELL => EFFECT, …`.
    TableRow,
    /// What is asked of a value: `-`, `missing`, `>= 5`, `2 to 5`, `word`, `{ word, word }`.
    Cell,
    /// `model NAME on EVENT [eager | lazy] = "FILE" (EXPR, …) [calibrated …]`.
    ModelDecl,
    /// An input of a model.
    ModelInput,
    /// `calibrated platt(N, N)`, `calibrated isotonic { N: N, … }`.
    CalibratedClause,
    /// `N: N`.
    CalibrationPoint,
    /// A number with its sign.
    SignedNumber,
    /// `scene NAME on EVENT when EXPR { rule … }`.
    SceneDecl,
    /// `rule NAME on EVENT … { when … then … }`.
    RuleDecl,
    /// `mandatory`, `monitor`, `salience N`.
    Modifier,
    /// `effective from DATE until DATE in "zone"`.
    EffectiveClause,
    /// `when EXPR`.
    WhenClause,
    /// `block`, `score N`, `reason NAME`, `alert NAME`, `allow over NAME, …`.
    Effect,
    /// `decide EVENT { … }`.
    DecideDecl,
    /// `score = EXPR`.
    ScoreItem,
    /// `ACTION when EXPR`, `else ACTION`.
    Threshold,
    /// `unassessed ACTION`.
    UnassessedItem,
    /// `late after DURATION { … }`.
    LateItem,
    /// `test "NAME" { … }`.
    TestDecl,
    /// `let NAME = EVENT { … }` of a test.
    TestLet,
    /// `stub NAME = VALUE`.
    StubItem,
    /// `given rate FROM TO NUMBER at TIME`.
    GivenRate,
    /// `given EVENT { … } at TIME, … [each amended …]`.
    GivenItem,
    /// `when EVENT { … } at TIME then …`.
    WhenItem,
    /// `EVENT { … }`, `NAME`, `NAME with { … }`.
    TestEvent,
    /// `{ FIELD: VALUE, … }`.
    TestFields,
    /// `FIELD: VALUE`.
    TestField,
    /// A value as events carry it.
    TestValue,
    /// `at TIME, …`.
    AtClause,
    /// `[each] amended DURATION later by EVENT { … }`.
    AmendedClause,
    /// `block`, `not block`, `score >= N`, `because REASON, …`, `fires RULE`, `unassessed`.
    Expectation,
    /// A declaration of a kind that the language reserves but does not have yet.
    ReservedDecl,
    /// `on EVENT`.
    OnClause,
    /// `where EXPR`.
    WhereClause,
    /// A name being declared.
    Name,
    /// A name being used.
    NameRef,
    /// `EVENT.FIELD`.
    PathExpr,
    /// A number, text, truth value or duration.
    Literal,
    /// `200 USD`.
    MoneyLiteral,
    /// `5 km`, `300 metres`, `900 km/h`.
    UnitLiteral,
    /// `( EXPR )`.
    ParenExpr,
    /// `not EXPR`, `- EXPR`.
    PrefixExpr,
    /// `EXPR op EXPR`.
    BinaryExpr,
    /// `EXPR is [not] missing`.
    IsMissingExpr,
    /// `EXPR [not] in NAME`, `EXPR in "zone"`.
    InExpr,
    /// `NAME(ARG, …)`.
    CallExpr,
    /// `EXPR [where EXPR]`.
    Arg,
    /// Tokens that fit nowhere.
    Error,
}

impl SyntaxKind {
    /// Whether the parser looks past tokens of this kind.
    #[must_use]
    pub fn is_trivia(self) -> bool {
        matches!(self, Self::Whitespace | Self::Comment)
    }
}

impl From<SyntaxKind> for rowan::SyntaxKind {
    fn from(kind: SyntaxKind) -> Self {
        Self(kind as u16)
    }
}

/// The policy language, for rowan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyLanguage {}

impl rowan::Language for PolicyLanguage {
    type Kind = SyntaxKind;

    fn kind_from_raw(raw: rowan::SyntaxKind) -> SyntaxKind {
        ALL.get(usize::from(raw.0)).copied().unwrap_or(SyntaxKind::Error)
    }

    fn kind_to_raw(kind: SyntaxKind) -> rowan::SyntaxKind {
        kind.into()
    }
}

/// A node of the tree.
pub type SyntaxNode = rowan::SyntaxNode<PolicyLanguage>;
/// A token of the tree.
pub type SyntaxToken = rowan::SyntaxToken<PolicyLanguage>;
