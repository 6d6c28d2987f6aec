package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"bahnpost/mail"
	"bahnpost/store/mailstore"
)

// CheckLine is one line of a check's answer: progress, a problem, or the end.
type CheckLine struct {
	Problem string         `json:"problem,omitempty"`
	Account mail.AccountID `json:"account,omitempty"`
	Address string         `json:"address,omitempty"` // of the account
	Mailbox int64          `json:"mailbox,omitempty"`
	UID     uint32         `json:"uid,omitempty"`
	Fatal   bool           `json:"fatal,omitempty"`
	Note    bool           `json:"note,omitempty"` // not counted as a problem

	Remark string `json:"remark,omitempty"` // about the check itself, in a line of its own

	CheckedSoFar int64 `json:"checked_so_far,omitempty"`
	Total        int64 `json:"total,omitempty"`

	Done bool `json:"done,omitempty"`
	*CheckSum
}

// CheckSum is how a check ended, in the last line only.
type CheckSum struct {
	Problems int   `json:"problems"`
	Checked  int64 `json:"checked"`
}

// progressEvery bounds how often progress is said.
const progressEvery = 200 * time.Millisecond

// check verifies every invariant and streams what it finds.
func (a *API) check(w http.ResponseWriter, r *http.Request) (any, error) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc := json.NewEncoder(w)
	flush := http.NewResponseController(w)
	var mu sync.Mutex
	var checked, total int64
	last := time.Now()
	say := func(l CheckLine) {
		mu.Lock()
		defer mu.Unlock()
		enc.Encode(l)
		flush.Flush()
	}
	if others := a.others(r); others > 0 {
		say(CheckLine{Remark: fmt.Sprintf("this is about the whole cell, which %d other nodes serve meanwhile", others)})
	}
	opts := mailstore.CheckOptions{Bodies: r.URL.Query().Get("bodies") != "false", Progress: func(done, of int64) {
		checked, total = done, of
		if time.Since(last) > progressEvery {
			last = time.Now()
			say(CheckLine{CheckedSoFar: done, Total: of})
		}
	}}
	problems := 0
	for p, err := range a.cfg.Mailstore.Check(r.Context(), opts) {
		if err != nil {
			_, refusal := a.refusal(r, err)
			p = mailstore.Problem{Text: "the check itself failed: " + refusal.Error, Fatal: true}
		}
		if !p.Note {
			problems++
		}
		acc, _ := a.cfg.Directory.Account(r.Context(), p.Account) // none: no address
		say(CheckLine{Problem: p.Text, Account: p.Account, Address: acc.Address.String(), Mailbox: int64(p.Mailbox), UID: uint32(p.UID), Fatal: p.Fatal, Note: p.Note})
	}
	problems += a.checkAccounts(r, say)
	say(CheckLine{Done: true, CheckSum: &CheckSum{Problems: problems, Checked: max(checked, total)}})
	return nil, nil
}

// others counts the nodes that serve the cell beside us; if that can't be found out the check itself will say why.
func (a *API) others(r *http.Request) (n int) {
	list, err := a.cfg.Nodes(r.Context())
	if err != nil {
		return 0
	}
	for _, x := range list {
		if x.Name != a.cfg.Self && x.State != NodeSilent {
			n++
		}
	}
	return n
}

// checkAccounts verifies that each account of the directory has its mail store account.
func (a *API) checkAccounts(r *http.Request, say func(CheckLine)) (problems int) {
	for acc, err := range a.cfg.Directory.Accounts(r.Context()) {
		if err == nil {
			_, err = a.cfg.Mailstore.Account(r.Context(), acc.ID)
		}
		if mail.KindOf(err) == mail.NoSuchAccount { // its making was cut off
			say(CheckLine{Problem: acc.Address.String() + " has no mailboxes until its first login or delivery", Account: acc.ID, Note: true})
		} else if err != nil {
			problems++
			say(CheckLine{Problem: acc.Address.String() + " has no mailboxes: " + err.Error(), Account: acc.ID, Fatal: true})
		}
	}
	return problems
}
