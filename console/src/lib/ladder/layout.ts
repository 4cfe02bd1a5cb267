/** Where everything of a sequence diagram stands: pure geometry, in pixels, for the SVG that draws it. */

import type { Message, Participant } from '../api';

export type Tone = 'request' | 'progress' | 'good' | 'ask' | 'bad';

export interface Column {
  readonly x: number;
  readonly name: string;
  readonly full: string;
  readonly server: boolean;
}

export interface Row {
  /** The arrow's line. */
  readonly y: number;
  readonly from: number;
  readonly to: number;
  /** The corners of the arrow's head, as SVG points. */
  readonly head: string;
  readonly time: string;
  readonly label: string;
  /** Where the label begins. */
  readonly labelX: number;
  readonly tone: Tone;
  readonly facts: readonly { readonly x: number; readonly y: number; readonly text: string }[];
  /** The whole of it in words. */
  readonly words: string;
}

export interface Layout {
  readonly width: number;
  readonly height: number;
  readonly columns: readonly Column[];
  readonly rows: readonly Row[];
  /** Where the lifelines begin. */
  readonly top: number;
}

const TIME = 84;
const NARROWEST = 150;
const WIDEST = 380;
/** Half a participant's box, and what is around it. */
export const HALF = 69;
const EDGE = HALF + 9;
const TOP = 46;
const LABEL = 24;
const FACT = 17;
const GAP = 12;
const HEAD = 8;
/** Average width of a letter in the diagram's two sizes, a little too large rather than too small. */
const LETTER = 7.3;
const SMALL = 6.6;

export function toneOf(line: string): Tone {
  const status = Number(/^(\d{3})\b/.exec(line)?.[1] ?? 0);
  if (status === 0) return 'request';
  if (status < 200) return 'progress';
  if (status < 300) return 'good';
  return status === 401 || status === 407 ? 'ask' : 'bad';
}

/** Milliseconds for people: tenths below a second, seconds above ten. */
export function timeLabel(at: number): string {
  if (at < 1000) return `${at.toFixed(1)} ms`;
  if (at < 10_000) return `${at.toFixed(0)} ms`;
  if (at < 1_000_000) return `${(at / 1000).toFixed(1)} s`;
  return `${(at / 1000).toFixed(0)} s`;
}

/** The text in so many pixels, cut where it is longer. */
export function fit(text: string, room: number, letter: number = LETTER): string {
  const letters = [...text];
  const most = Math.max(1, Math.floor(room / letter));
  return letters.length <= most ? text : `${letters.slice(0, most - 1).join('')}…`;
}

/** Of an INVITE's address the id says most: the rest goes first where there is no room. */
function labelOf(line: string, repeats: string, room: number): string {
  const short = /^INVITE \w+:([^@;]+)/.exec(line);
  const said = short && (line.length + repeats.length) * LETTER > room ? `INVITE ${short[1]}` : line;
  return fit(said, room - repeats.length * LETTER) + repeats;
}

export function layout(
  participants: readonly Participant[],
  messages: readonly Message[],
  room: number,
  nameOf: (participant: Participant) => string,
): Layout {
  const between = Math.max(1, participants.length - 1);
  const step = Math.min(WIDEST, Math.max(NARROWEST, (room - TIME - 2 * EDGE) / between));
  const width = TIME + 2 * EDGE + between * step;
  const columns = participants.map((participant, at): Column => {
    const full = nameOf(participant);
    return { x: TIME + EDGE + at * step, name: fit(full, 2 * HALF - 12), full, server: participant.server };
  });
  let y = TOP;
  const rows = messages.map((message): Row => {
    const from = columns[message.from]!.x;
    const to = columns[message.to]!.x;
    const left = Math.min(from, to);
    const direction = to < from ? -1 : 1;
    const repeats = message.again ? ` ×${message.again + 1}` : '';
    y += LABEL;
    const line = y;
    const facts = message.facts.map((fact) => {
      y += FACT;
      return { x: left + 10, y, text: fit(fact, width - left - 16, SMALL) };
    });
    y += GAP;
    const tip = to - direction * 2;
    return {
      y: line,
      from,
      to,
      head: `${tip},${line} ${tip - direction * HEAD},${line - 4.5} ${tip - direction * HEAD},${line + 4.5}`,
      time: timeLabel(message.at),
      label: labelOf(message.line, repeats, Math.abs(to - from) - 22),
      labelX: left + 10,
      tone: toneOf(message.line),
      facts,
      words: [`${columns[message.from]!.full} → ${columns[message.to]!.full}: ${message.line}${repeats}`, ...message.facts].join('; '),
    };
  });
  return { width, height: y + GAP, columns, rows, top: TOP - 8 };
}
