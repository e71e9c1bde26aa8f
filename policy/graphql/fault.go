package graphql

// Reason is why a request is refused.
type Reason string

const (
	NoJSON         Reason = "it is not strict JSON"
	BadHead        Reason = "its body cannot be inspected"
	Method         Reason = "only GET and POST carry operations"
	TwoPlaces      Reason = "operations stand in the URL and in the body"
	BadQuery       Reason = "its URL parameters cannot be read in one way"
	Repeated       Reason = "a URL parameter stands twice"
	Keys           Reason = "a key can be read in two ways"
	NotEnvelope    Reason = "an envelope is not an object"
	EmptyBatch     Reason = "the batch is empty"
	WrongType      Reason = "a known key has a value of the wrong type"
	TwoIDs         Reason = "it names two stored operations"
	UnknownID      Reason = "it names a stored operation in a form that policies do not know"
	WrongHash      Reason = "the hash is not that of the document"
	NoOperation    Reason = "it has neither a document nor the name of a stored operation"
	Syntax         Reason = "the document does not parse, or has too many tokens"
	TooDeep        Reason = "the document is nested too deeply"
	Quotes         Reason = "a block string is followed by a quote"
	LineSeparator  Reason = "a comment holds a line separator"
	TwoNames       Reason = "two operations or two fragments have one name"
	Anonymous      Reason = "an operation without a name is not alone"
	Choice         Reason = "operationName does not select an operation"
	NoFragment     Reason = "a fragment is not defined"
	CyclicFragment Reason = "a fragment contains itself"
	MessageType    Reason = "the message is of a type that clients do not send"
	MessageID      Reason = "the message has no id"
	NoPayload      Reason = "the message has no payload"
)

// Error is a refused request. It does not repeat the request, which may hold
// secrets. Cause says more about JSON that is not strict.
type Error struct {
	Reason Reason
	Cause  error
}

func (e *Error) Error() string {
	if e.Cause != nil {
		return "parse GraphQL request: " + string(e.Reason) + ": " + e.Cause.Error()
	}
	return "parse GraphQL request: " + string(e.Reason)
}

func (e *Error) Unwrap() error { return e.Cause }

func fault(r Reason) error { return &Error{Reason: r} }
