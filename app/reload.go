package app

import (
	"reflect"
	"strings"
)

// live are the keys that SIGHUP changes at once; all others need a restart.
var live = map[string]bool{"log.level": true, "tls.certificate": true, "tls.key": true}

// Reload re-reads configuration and certificates. A mistake changes nothing.
func (n *Node) Reload() {
	if !n.draining.Load() {
		n.tell(stateReloading())
		defer n.tell(stateReady)
	}
	c, err := LoadConfig(n.dir)
	if err != nil {
		n.log.Error("configuration not re-read", "err", err)
		return
	}
	if err := n.certs.load(n.dir, c.TLS); err != nil {
		n.log.Error("certificate not re-read", "err", err)
		return
	}
	old := n.cfg.Load()
	next := *old
	next.Log.Level, next.TLS = c.Log.Level, c.TLS
	n.level.Set(logLevels[c.Log.Level])
	n.cfg.Store(&next)
	n.log.Info("re-read configuration and certificates", "changed", changed(old, c, true), "need_restart", changed(old, c, false))
}

// changed lists the keys that differ and are (or are not) live.
func changed(a, b *Config, isLive bool) string {
	var keys []string
	va, vb := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	t := va.Type()
	for i := range t.NumField() {
		table := t.Field(i)
		for j := range table.Type.NumField() {
			key := table.Tag.Get("toml") + "." + table.Type.Field(j).Tag.Get("toml")
			if live[key] == isLive && !reflect.DeepEqual(va.Field(i).Field(j).Interface(), vb.Field(i).Field(j).Interface()) {
				keys = append(keys, key)
			}
		}
	}
	return strings.Join(keys, " ")
}
