import { chooseLanguage, translate, type Key, type Language, type Values } from './translate';

export { LANGUAGES } from './translate';
export type { Key, Language, Values } from './translate';

const STORED_AS = 'soip.language';

function remembered(): string | null {
  try {
    return localStorage.getItem(STORED_AS);
  } catch {
    return null; // Storage may be forbidden; the browser's languages decide then.
  }
}

const first = chooseLanguage(remembered(), navigator.languages);
let current = $state<Language>(first);
document.documentElement.lang = first;

/** The language the page speaks now (reactive). */
export function language(): Language {
  return current;
}

/** Switches the page's language and remembers it in this browser. */
export function setLanguage(next: Language): void {
  current = next;
  document.documentElement.lang = next;
  try {
    localStorage.setItem(STORED_AS, next);
  } catch {
    // Not remembered, but in force for this page.
  }
}

/** The text of a key in the page's language (reactive). */
export function t(key: Key, values?: Values): string {
  return translate(current, key, values);
}
