package message

import (
	"strings"
	"time"
)

// ParseDate reads a Date value leniently (RFC 5322 §3.3, obsolete forms of §4.3, asctime):
// weekday optional, comments, two-digit years, named zones. zone is the minutes east of UTC it was
// written in. An invalid zone counts as UTC, an invalid time as 00:00:00 (RFC 5256 §2.2).
func ParseDate(s string) (unix int64, zone int16, ok bool) {
	var d dateScan
	for n := 0; n < 40; n++ { // more tokens than any date has
		s = skipCFWS(s)
		if s == "" {
			break
		}
		s = d.token(s)
	}
	if !d.haveYear || d.month == 0 || d.day < 1 || d.day > 31 {
		return 0, 0, false
	}
	if d.hour > 23 || d.min > 59 || d.sec > 60 {
		d.hour, d.min, d.sec = 0, 0, 0
	}
	t := time.Date(d.year, time.Month(d.month), d.day, d.hour, d.min, d.sec, 0, time.UTC).Unix()
	return t - int64(d.zone)*60, int16(d.zone), true
}

// dateScan collects what the tokens of a date say.
type dateScan struct {
	year, month, day  int
	hour, min, sec    int
	zone              int
	haveYear, haveDay bool
	haveTime          bool
}

// token takes one token from s, which is not empty, and returns the rest.
func (d *dateScan) token(s string) string {
	c := s[0]
	switch {
	case c >= '0' && c <= '9':
		return d.number(s)
	case (c == '+' || c == '-') && (d.haveTime || d.haveYear):
		if n, k := digits(s[1:]); k == 4 || k == 2 || k == 3 {
			if k == 2 {
				n *= 100
			}
			d.offset(n, c == '-')
			return s[1+k:]
		}
		return s[1:]
	case c|0x20 >= 'a' && c|0x20 <= 'z':
		k := 0
		for k < len(s) && s[k]|0x20 >= 'a' && s[k]|0x20 <= 'z' {
			k++
		}
		d.name(s[:k])
		return s[k:]
	}
	return s[1:]
}

func digits(s string) (n, k int) {
	for k < len(s) && k < 9 && s[k] >= '0' && s[k] <= '9' {
		n = n*10 + int(s[k]-'0')
		k++
	}
	return n, k
}

// number takes a day, a year, a time of day or an ISO date.
func (d *dateScan) number(s string) string {
	n, k := digits(s)
	rest := s[k:]
	after := skipCFWS(rest)
	switch {
	case !d.haveTime && after != "" && (after[0] == ':' || after[0] == '.' && d.haveYear):
		return d.clock(n, after)
	case k == 4 && !d.haveYear && len(rest) > 2 && rest[0] == '-' && rest[1] >= '0' && rest[1] <= '9': // ISO 8601
		d.setYear(n, k)
		m, k1 := digits(rest[1:])
		rest = rest[1+k1:]
		if m >= 1 && m <= 12 {
			d.month = m
		}
		if rest != "" && rest[0] == '-' {
			d.day, k1 = digits(rest[1:])
			d.haveDay = true
			rest = rest[1+k1:]
		}
		if rest != "" && rest[0]|0x20 == 't' {
			rest = rest[1:]
		}
		return rest
	case !d.haveDay && k <= 2:
		d.day, d.haveDay = n, true
	case !d.haveYear && (k == 2 || k == 3 || k == 4 || k == 5):
		d.setYear(n, k)
	}
	if len(rest) > 0 && rest[0] == '-' && d.haveDay && !d.haveYear { // 3-Feb-2001
		rest = rest[1:]
	}
	return rest
}

// setYear applies RFC 5322 §4.3 to short years.
func (d *dateScan) setYear(n, k int) {
	switch {
	case k <= 2 && n < 50:
		n += 2000
	case k <= 3:
		n += 1900
	}
	d.year, d.haveYear = n, n > 0 && n < 10000
}

// clock takes hour, after which s goes on with a colon or dot.
func (d *dateScan) clock(hour int, s string) string {
	v := [3]int{hour, 0, 0}
	for i := 1; i < 3 && s != "" && (s[0] == ':' || s[0] == '.'); i++ {
		s = skipCFWS(s[1:])
		n, k := digits(s)
		if k == 0 {
			break
		}
		v[i] = n
		s = s[k:]
		if t := skipCFWS(s); t != "" && t[0] == ':' {
			s = t
		}
	}
	if s != "" && s[0] == '.' { // fraction of a second
		_, k := digits(s[1:])
		s = s[1+k:]
	}
	d.hour, d.min, d.sec, d.haveTime = v[0], v[1], v[2], true
	return s
}

// offset takes a numeric zone hhmm.
func (d *dateScan) offset(n int, west bool) {
	if n%100 > 59 || n/100 > 23 {
		return
	}
	d.zone = n/100*60 + n%100
	if west {
		d.zone = -d.zone
	}
}

// name takes a month, a zone, AM or PM; weekdays are passed over.
func (d *dateScan) name(s string) {
	const months = "janfebmaraprmayjunjulaugsepoctnovdec"
	if len(s) >= 3 && d.month == 0 {
		var low [3]byte
		for i := range low {
			low[i] = s[i] | 0x20
		}
		for i := 0; i < 12; i++ {
			if months[3*i:3*i+3] == string(low[:]) {
				d.month = i + 1
				return
			}
		}
	}
	if !d.haveTime {
		return
	}
	switch strings.ToUpper(clip(s, 5)) {
	case "PM":
		if d.hour < 12 {
			d.hour += 12
		}
	case "AM":
		if d.hour == 12 {
			d.hour = 0
		}
	case "EDT":
		d.zone = -4 * 60
	case "EST", "CDT":
		d.zone = -5 * 60
	case "CST", "MDT":
		d.zone = -6 * 60
	case "MST", "PDT":
		d.zone = -7 * 60
	case "PST":
		d.zone = -8 * 60
	case "BST", "MET", "CET":
		d.zone = 60
	case "MEST", "CEST", "MESZ", "EET":
		d.zone = 120
	case "JST":
		d.zone = 9 * 60
	}
}
