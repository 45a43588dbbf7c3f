import { type Html, html } from "../html.ts";
import { page } from "./layout.ts";

export interface LogIn {
  /** The page that was asked for. */
  readonly to: string;
  readonly problem: string | undefined;
  /** Whose certificate the browser has shown. */
  readonly owner: string | undefined;
  /** Whether there are tokens at all. */
  readonly hasTokens: boolean;
  /** Whether accounts of --console-oidc log in. */
  readonly hasOidc: boolean;
}

export function logInPage({ to, problem, owner, hasTokens, hasOidc }: LogIn): Html {
  return page(
    problem === undefined ? "Log in" : "Not logged in",
    html`<main id="main" class="log-in" tabindex="-1">
      <p class="brand">Sluice</p>
      <h1>Log in to the console</h1>
      ${problem !== undefined && html`<p class="problem" role="alert" id="problem">${problem}</p>`}
      ${owner !== undefined && certificateForm(to, owner)}
      ${hasOidc && oidcLink(to)}
      ${hasTokens && tokenForm(to, problem)}
      ${
        !hasTokens &&
        !hasOidc &&
        owner === undefined &&
        html`<p>Your browser has shown no certificate of those who may log in
        (<code>--admin-tls-client-ca</code>).</p>`
      }
    </main>`,
  );
}

/** Somebody has come back from the provider, and goes on by themselves. */
export function arrivedPage(to: string): Html {
  return page(
    "Logged in",
    html`<main id="main" class="log-in" tabindex="-1"><h1>You are logged in</h1>
      <p><a href="${to}">Go on</a></p></main>`,
    html`<meta http-equiv="refresh" content="0; url=${to}">`,
  );
}

function oidcLink(to: string): Html {
  return html`<p><a class="button" href="/console/oidc/start?${new URLSearchParams({ to }).toString()}">Log in with your organization</a></p>`;
}

function certificateForm(to: string, owner: string): Html {
  return html`<form method="post" action="/console/log-in">
    <input type="hidden" name="to" value="${to}"><input type="hidden" name="with" value="certificate">
    <button type="submit">Log in as <bdi>${owner}</bdi></button>
    <p class="quiet">By the certificate that your browser has shown.</p>
  </form>`;
}

function tokenForm(to: string, problem: string | undefined): Html {
  return html`<form method="post" action="/console/log-in">
    <input type="hidden" name="to" value="${to}">
    <label for="token">Console token</label>
    <input id="token" name="token" type="password" autocomplete="current-password" required autofocus
      ${problem !== undefined && html`aria-invalid="true" aria-describedby="problem"`}>
    <button type="submit">Log in</button>
    <p class="quiet">The token is what <code>--console-token-file</code> or <code>SLUICE_CONSOLE_TOKEN</code>
      gave to this proxy.</p>
  </form>`;
}
