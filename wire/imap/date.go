package imap

import (
	"strings"
	"time"
)

const months = "JanFebMarAprMayJunJulAugSepOctNovDec"

// DateTime reads a date-time: "17-Jul-1996 02:44:25 -0700" in quotes (RFC 9051 §9).
func (d *Decoder) DateTime() time.Time {
	s := d.quotedDate()
	if d.err != nil {
		return time.Time{}
	}
	t, ok := parseDateTime(s)
	if !ok {
		d.Fail(`date-time must look like "17-Jul-1996 02:44:25 -0700"`)
	}
	return t
}

func (d *Decoder) quotedDate() string {
	if d.err == nil && d.Peek() != '"' {
		d.wanted("a quoted date-time")
		return ""
	}
	if d.err != nil {
		return ""
	}
	return d.quoted()
}

func parseDateTime(s string) (time.Time, bool) {
	if len(s) != 26 || s[2] != '-' || s[6] != '-' || s[11] != ' ' || s[14] != ':' || s[17] != ':' || s[20] != ' ' {
		return time.Time{}, false
	}
	day := strings.TrimLeft(s[:2], " ")
	dd, ok1 := digits(day)
	mon := month(s[3:6])
	yy, ok2 := digits(s[7:11])
	h, ok3 := digits(s[12:14])
	m, ok4 := digits(s[15:17])
	sec, ok5 := digits(s[18:20])
	z, ok6 := digits(s[22:26])
	if !(ok1 && ok2 && ok3 && ok4 && ok5 && ok6) || mon == 0 || s[21] != '+' && s[21] != '-' {
		return time.Time{}, false
	}
	if h > 23 || m > 59 || sec > 60 || z%100 > 59 || z > 2359 || yy < 1 {
		return time.Time{}, false
	}
	zone := z/100*60 + z%100
	if s[21] == '-' {
		zone = -zone
	}
	t := time.Date(yy, time.Month(mon), dd, h, m, min(sec, 59), 0, time.FixedZone("", zone*60))
	return t, t.Day() == dd && dd > 0
}

// Date reads a date: 1-Feb-1994, with or without quotes (RFC 9051 §9 date).
// The result is midnight UTC of that day.
func (d *Decoder) Date() time.Time {
	var s string
	if d.Peek() == '"' {
		s = d.quotedDate()
	} else {
		s = string(d.Atom())
	}
	if d.err != nil {
		return time.Time{}
	}
	p := strings.Split(s, "-")
	if len(p) == 3 && len(p[0]) <= 2 && len(p[2]) == 4 {
		dd, ok1 := digits(p[0])
		yy, ok2 := digits(p[2])
		if mon := month(p[1]); ok1 && ok2 && mon > 0 && yy > 0 {
			if t := time.Date(yy, time.Month(mon), dd, 0, 0, 0, 0, time.UTC); t.Day() == dd && dd > 0 {
				return t
			}
		}
	}
	d.Fail("date must look like 1-Feb-1994")
	return time.Time{}
}

func digits(s string) (n int, ok bool) {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, len(s) > 0
}

// month returns 1..12, 0 if s is none.
func month(s string) int {
	if len(s) != 3 {
		return 0
	}
	for i := 0; i < 12; i++ {
		if strings.EqualFold(months[3*i:3*i+3], s) {
			return i + 1
		}
	}
	return 0
}

// AppendDateTime prints a date-time with its quotes: unix seconds, shown in
// the zone of that many minutes east of UTC.
func AppendDateTime(b []byte, unix int64, zone int) []byte {
	t := time.Unix(unix+int64(zone)*60, 0).UTC()
	y, mo, d := t.Date()
	h, mi, s := t.Clock()
	y = min(max(y, 0), 9999)
	b = append(b, '"', byte('0'+d/10), byte('0'+d%10), '-')
	if d < 10 {
		b[len(b)-3] = ' '
	}
	b = append(b, months[3*(int(mo)-1):3*int(mo)]...)
	b = append(b, '-', byte('0'+y/1000), byte('0'+y/100%10), byte('0'+y/10%10), byte('0'+y%10), ' ')
	b = append(b, byte('0'+h/10), byte('0'+h%10), ':', byte('0'+mi/10), byte('0'+mi%10), ':', byte('0'+s/10), byte('0'+s%10), ' ')
	sign := byte('+')
	if zone < 0 {
		sign, zone = '-', -zone
	}
	zh, zm := zone/60%100, zone%60
	return append(b, sign, byte('0'+zh/10), byte('0'+zh%10), byte('0'+zm/10), byte('0'+zm%10), '"')
}
