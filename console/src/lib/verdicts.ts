import type { CallState, Verdict } from './api';
import type { Key } from './i18n/translate';
import type { IconName } from '../components/Icon.svelte';

/** The codes of `signalling/verdict.py` in the source. */
const CODES = [
  'calling',
  'ringing',
  'established',
  'ended',
  'gave-up',
  'challenged',
  'wrong-password',
  'not-allowed',
  'unknown',
  'unreachable',
  'no-answer',
  'busy',
  'declined',
  'no-codec',
  'unavailable',
  'refused',
  'interrupted',
] as const;

const HINTS = [
  'challenged',
  'wrong-password',
  'not-allowed',
  'unknown',
  'unreachable',
  'no-answer',
  'no-codec',
  'unavailable',
] as const;

/** The words for a verdict, and what to do; null for one that a newer server says: its own words are shown then. */
export function verdictWords(verdict: Verdict): { readonly key: Key; readonly hint: Key | null } | null {
  const code = CODES.find((known) => known === verdict.code);
  if (!code) return null;
  const hint = HINTS.find((known) => known === verdict.code);
  return { key: `verdict.${code}`, hint: hint ? `verdict.hint.${hint}` : null };
}

/** The sign of a state, so that none has to be told from its colour. */
export const STATE_SIGNS: Record<CallState, IconName> = {
  calling: 'forward',
  ringing: 'live',
  established: 'live',
  ended: 'idle',
  cancelled: 'close',
  failed: 'warning',
};
