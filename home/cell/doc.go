// Package cell is the home of accounts that live with us: Local is the door of
// this cell, over its mail store and directory. (Remote, the same at a peer,
// comes with clusters.)
//
// It does not resolve addresses (store/directory, asked by flow/intake) and
// speaks no protocol.
//
// Guarantees. A receipt without error means a durable commit. Recipients of one
// mail are written concurrently, one Update for each account, so that the
// store's group commit takes them together; the body is stored once. What is
// particular to a copy (Return-Path, Delivered-To, Received) is its prefix.
// Delivery is idempotent by (Envelope.ID, account) where the envelope has an ID.
//
// Safe for concurrent use; it holds no lock.
//
// Errors: what the store says aloud (*mail.Error) is handed on; an account that
// the directory knows and the store does not is made on the spot.
package cell
