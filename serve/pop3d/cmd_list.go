package pop3d

import "strconv"

func count(n int) string    { return strconv.Itoa(n) }
func octets(n int64) string { return strconv.FormatInt(n, 10) }

// stat is RFC 1939 §5.
func stat(s *session, _ string) error {
	s.say("+OK " + count(s.drop.left) + " " + octets(s.drop.size))
	return nil
}

// list is RFC 1939 §5: LIST [msg].
func list(s *session, arg string) error {
	if arg != "" {
		n, m, err := s.drop.message(arg)
		if err != nil {
			return err
		}
		s.say("+OK " + count(n) + " " + octets(int64(m.size)))
		return nil
	}
	s.say("+OK " + count(s.drop.left) + " messages (" + octets(s.drop.size) + " octets)")
	for i := range s.drop.msgs {
		if m := &s.drop.msgs[i]; !m.deleted {
			b := s.out.AvailableBuffer()
			b = strconv.AppendInt(b, int64(i+1), 10)
			b = append(b, ' ')
			b = strconv.AppendUint(b, uint64(m.size), 10)
			s.out.Write(append(b, "\r\n"...))
		}
	}
	s.say(".")
	return nil
}

// uidl is RFC 1939 §7: UIDL [msg].
func uidl(s *session, arg string) error {
	if arg != "" {
		n, m, err := s.drop.message(arg)
		if err != nil {
			return err
		}
		s.out.WriteString("+OK " + count(n) + " ")
		s.out.Write(append(s.drop.appendUIDL(s.out.AvailableBuffer(), m), "\r\n"...))
		return nil
	}
	s.say("+OK")
	for i := range s.drop.msgs {
		if m := &s.drop.msgs[i]; !m.deleted {
			b := s.out.AvailableBuffer()
			b = strconv.AppendInt(b, int64(i+1), 10)
			b = append(b, ' ')
			b = s.drop.appendUIDL(b, m)
			s.out.Write(append(b, "\r\n"...))
		}
	}
	s.say(".")
	return nil
}

// dele is RFC 1939 §5.
func dele(s *session, arg string) error {
	n, m, err := s.drop.message(arg)
	if err != nil {
		return err
	}
	m.deleted = true
	s.drop.left--
	s.drop.size -= int64(m.size)
	s.say("+OK message " + count(n) + " deleted")
	return nil
}

// rset is RFC 1939 §5.
func rset(s *session, _ string) error {
	s.drop.reset()
	s.say("+OK maildrop has " + count(s.drop.left) + " messages (" + octets(s.drop.size) + " octets)")
	return nil
}
