import { en, type Key } from './en';
import { ko } from './ko';

export type Language = 'en' | 'ko';
export type { Key };
export type Values = Record<string, string | number>;

export const LANGUAGES: readonly { code: Language; name: string }[] = [
  { code: 'ko', name: '한국어' },
  { code: 'en', name: 'English' },
];

export const DICTIONARIES: Record<Language, Record<Key, string>> = { en, ko };

/** The text of a key with its `{names}` filled in; a name without a value stays visible, so that it is found. */
export function translate(language: Language, key: Key, values: Values = {}): string {
  return DICTIONARIES[language][key].replace(/\{(\w+)\}/g, (whole, name: string) =>
    name in values ? String(values[name]) : whole,
  );
}

/** The language to start with: the remembered one, else the first of the browser's that we speak, else English. */
export function chooseLanguage(remembered: string | null, preferred: readonly string[]): Language {
  for (const wish of [remembered ?? '', ...preferred]) {
    const code = wish.toLowerCase().split('-')[0];
    const found = LANGUAGES.find((language) => language.code === code);
    if (found) return found.code;
  }
  return 'en';
}
