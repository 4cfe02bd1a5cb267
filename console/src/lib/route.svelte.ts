/** Where the page is: `#/` shows all cameras, `#/camera/ID` one. The hash needs nothing from the server. */
export type Route = { readonly page: 'grid' } | { readonly page: 'camera'; readonly id: string };

export function parseRoute(hash: string): Route {
  const found = /^#\/camera\/([^/?]+)$/.exec(hash);
  if (!found) return { page: 'grid' };
  try {
    return { page: 'camera', id: decodeURIComponent(found[1]!) };
  } catch {
    return { page: 'grid' };
  }
}

export function addressOf(route: Route): string {
  return route.page === 'camera' ? `#/camera/${encodeURIComponent(route.id)}` : '#/';
}

let current = $state.raw<Route>({ page: 'grid' });

export function route(): Route {
  return current;
}

export function followRoute(): () => void {
  const follow = (): void => {
    current = parseRoute(location.hash);
  };
  follow();
  addEventListener('hashchange', follow);
  return () => removeEventListener('hashchange', follow);
}
