package mailstore

// UIDSet is a set of UIDs (or sequence numbers) as ascending, disjoint, not adjoining ranges.
// The zero value is empty. Order of pairwise sets (Copied) is kept by the owner.
type UIDSet []UIDRange

// UIDRange includes both ends.
type UIDRange struct{ Lo, Hi UID }

// Add, Contains, Count, All (iter.Seq[UID]), Intersect, Union, Subtract, String ("1:3,7"): see the owner.
