package admin

import (
	"net/http"

	"bahnpost/mail"
	"bahnpost/store/directory"
)

func (a *API) domains(_ http.ResponseWriter, r *http.Request) (any, error) {
	list, err := a.cfg.Directory.Domains(r.Context())
	if list == nil {
		list = []string{}
	}
	return list, err
}

func (a *API) addDomain(w http.ResponseWriter, r *http.Request) (any, error) {
	var in struct {
		Name string `json:"name"`
	}
	if err := readJSON(w, r, &in); err != nil {
		return nil, err
	}
	name, err := mail.ParseDomain(in.Name)
	if err != nil {
		return nil, err
	}
	return done{true}, a.cfg.Directory.AddDomain(r.Context(), name)
}

func (a *API) removeDomain(_ http.ResponseWriter, r *http.Request) (any, error) {
	name, err := mail.ParseDomain(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	return done{true}, a.cfg.Directory.RemoveDomain(r.Context(), name)
}

// AliasJSON is an alias as the API shows and takes it.
type AliasJSON struct {
	From    string   `json:"from"`
	Targets []string `json:"targets"`
}

func (a *API) aliases(_ http.ResponseWriter, r *http.Request) (any, error) {
	list := []AliasJSON{}
	for al, err := range a.cfg.Directory.Aliases(r.Context()) {
		if err != nil {
			return nil, err
		}
		list = append(list, aliasJSON(al))
	}
	return list, nil
}

func aliasJSON(al directory.Alias) AliasJSON {
	j := AliasJSON{From: al.From, Targets: make([]string, len(al.Targets))}
	for i, t := range al.Targets {
		j.Targets[i] = t.String()
	}
	return j
}

func (a *API) addAlias(w http.ResponseWriter, r *http.Request) (any, error) {
	var in AliasJSON
	if err := readJSON(w, r, &in); err != nil {
		return nil, err
	}
	if len(in.Targets) == 0 || len(in.Targets) > directory.MaxAliasTargets {
		return nil, &mail.Error{Kind: mail.BadInput, Text: "an alias needs between 1 and 1000 targets"}
	}
	targets := make([]mail.Address, len(in.Targets))
	for i, s := range in.Targets {
		t, err := mail.ParseAddress(s)
		if err != nil {
			return nil, err
		}
		targets[i] = t
	}
	return done{true}, a.cfg.Directory.AddAlias(r.Context(), in.From, targets)
}

func (a *API) removeAlias(_ http.ResponseWriter, r *http.Request) (any, error) {
	return done{true}, a.cfg.Directory.RemoveAlias(r.Context(), r.PathValue("from"))
}
