"""The bodies of the control profile: MANSCDP+xml as GB/T 28181 has it (§9, Annex A), without input or output.

- `errors`    the one error tree
- `xml`       a small, closed subset of XML: elements, attributes, text; no DTD, no entities
- `manscdp`   keepalives, alarms, and the answer to an alarm
- `moved`     between our own servers: cameras that went to other media workers

Rules:

1. Standard library only, and of that nothing that touches a socket, a clock or chance.
2. Liberal in: encodings that are not what they say, names in any case, elements missing or in another order, values out
   of range. Strict out: what leaves is well-formed, in order, and within the ranges of the standard.
3. What is built reads back as what it was built from.
4. Every parser takes linear time and bounded memory, and raises `errors.ControlParseError` and nothing else on bad
   input.
"""
