package message

// summary makes the Summary of the message that ended.
func (p *Parser) summary() *Summary {
	s := &Summary{Root: p.root, Envelope: p.env, Size: p.pos}
	s.MessageID = firstMessageID(p.env.MessageID)
	s.References = references(p.refs, p.env.InReplyTo)
	if p.env.Subject != nil {
		base, reply := BaseSubject(*p.env.Subject)
		s.IsReplyOrForward = reply
		s.BaseSubject = foldString(base)
	}
	if p.env.Date != nil {
		s.SentDate, s.SentZone, s.SentDateOK = ParseDate(*p.env.Date)
	}
	s.HasAttachment = hasAttachment(p.root, nil)
	s.Preview = p.preview()
	return s
}

func foldString(s string) string {
	var buf [256]byte
	return string(Fold(buf[:0], s))
}

// hasAttachment reports whether a client would show a paper clip: a leaf (or nested message)
// declared an attachment, or a named leaf that is neither text nor related to an HTML text. Signatures don't count.
func hasAttachment(p, parent *Part) bool {
	if p.Type == "MULTIPART" {
		for _, c := range p.Parts {
			if hasAttachment(c, p) {
				return true
			}
		}
		return false
	}
	if p.Type == "APPLICATION" && (p.Subtype == "PGP-SIGNATURE" || p.Subtype == "PKCS7-SIGNATURE" || p.Subtype == "X-PKCS7-SIGNATURE") {
		return false
	}
	if p.Disposition == "ATTACHMENT" {
		return true
	}
	related := parent != nil && parent.Subtype == "RELATED"
	return p.Type != "TEXT" && !related && p.fileName() != ""
}

// fileName is the raw name of a part, "" if it has none (RFC 2183 §2.3; the older name parameter of Content-Type).
func (p *Part) fileName() string {
	if n := param(p.DispParams, "FILENAME"); n != "" {
		return n
	}
	return param(p.Params, "NAME")
}
