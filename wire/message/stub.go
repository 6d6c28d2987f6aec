package message

import "io"

// CONTRACT STUB, to be replaced by the owner of this package.

type parser struct{}

func newParser() *Parser                                                      { panic("contract") }
func (p *Parser) write(b []byte) (int, error)                                 { panic("contract") }
func (p *Parser) finish() *Summary                                            { panic("contract") }
func parse(r io.Reader) (*Summary, error)                                     { panic("contract") }
func (s *Summary) encode(b []byte) []byte                                     { panic("contract") }
func (e Stored) envelope() []byte                                             { panic("contract") }
func (e Stored) bodyStructure() []byte                                        { panic("contract") }
func (e Stored) body(b []byte) []byte                                         { panic("contract") }
func (e Stored) root() (*Part, error)                                         { panic("contract") }
func (e Stored) preview() []byte                                              { panic("contract") }
func (e Stored) decode() (*Summary, error)                                    { panic("contract") }
func (e Stored) sortKeys() SortKeys                                           { panic("contract") }
func (p *Part) find(path []int) *Part                                         { panic("contract") }
func fields(header []byte, yield func(name string, value, whole []byte) bool) { panic("contract") }
func decodeHeader(raw string) string                                          { panic("contract") }
func parseAddressList(raw string) []Address                                   { panic("contract") }
func decoder(encoding string, r io.Reader) (_ io.Reader, ok bool)             { panic("contract") }
func charsetReader(charset string, r io.Reader) io.Reader                     { panic("contract") }
func knownCharset(charset string) bool                                        { panic("contract") }
func fold(b []byte, s string) []byte                                          { panic("contract") }
func texts(r io.ReaderAt, root *Part, yield func(kind TextKind, field string, text []byte) bool) error {
	panic("contract")
}
