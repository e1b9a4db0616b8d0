// Signing in and out. Speaks the Web eID protocol between page and extension (window.postMessage),
// so the published extension works unchanged. The PIN never passes through this page.
"use strict";

(() => {
  const LIBRARY_VERSION = "2.0.2";
  const ACTION = "web-eid:authenticate";
  const ACK_WITHIN_MS = 1000;
  // The protocol's 1 s + 5 s, and two minutes for the person.
  const ANSWER_WITHIN_MS = 126000;

  const language = document.documentElement.lang;
  const message = document.getElementById("message");

  class ServiceProblem extends Error {
    constructor(problem) {
      super(problem.code);
      this.problem = problem;
    }
  }

  class CardFailure extends Error {
    constructor(code, triesLeft = null) {
      super(code);
      this.code = code;
      this.triesLeft = triesLeft;
    }
  }

  function say(text, isBad) {
    message.textContent = text;
    message.classList.toggle("bad", Boolean(isBad));
  }

  async function post(path, body) {
    const response = await fetch(path, {
      method: "POST",
      credentials: "same-origin",
      redirect: "error",
      headers: { "Content-Type": "application/json", "Accept-Language": language },
      body: JSON.stringify(body),
    });
    if (response.status === 204) return null;
    const answer = await response.json();
    if (!response.ok) throw new ServiceProblem(answer);
    return answer;
  }

  function askCard(nonce) {
    return new Promise((resolve, reject) => {
      let acknowledged = false;
      const timers = [];

      function finish(settle, value) {
        timers.forEach(clearTimeout);
        window.removeEventListener("message", onMessage);
        settle(value);
      }

      function onMessage(event) {
        if (event.source !== window || event.origin !== window.location.origin) return;
        const data = event.data || {};
        if (data.action === ACTION + "-ack") {
          acknowledged = true;
        } else if (data.action === ACTION + "-success") {
          const { unverifiedCertificate, algorithm, signature, format, appVersion } = data;
          finish(resolve, { unverifiedCertificate, algorithm, signature, format, appVersion });
        } else if (data.action === ACTION + "-failure") {
          const { code, tries_left: tries } = data.error || {};
          finish(reject, new CardFailure(
            typeof code === "string" ? code : "UNKNOWN",
            Number.isInteger(tries) && tries >= 0 && tries <= 15 ? tries : null));
        }
      }

      window.addEventListener("message", onMessage);
      timers.push(setTimeout(() => {
        if (!acknowledged) finish(reject, new CardFailure("ERR_WEBEID_EXTENSION_UNAVAILABLE"));
      }, ACK_WITHIN_MS));
      timers.push(setTimeout(
        () => finish(reject, new CardFailure("ERR_WEBEID_ACTION_TIMEOUT")), ANSWER_WITHIN_MS));
      window.postMessage({
        action: ACTION,
        libraryVersion: LIBRARY_VERSION,
        challengeNonce: nonce,
        options: { lang: language },
      }, window.location.origin);
    });
  }

  async function explain(error, texts, startedAt) {
    if (error instanceof ServiceProblem) {
      const { title, next_step: step, incident } = error.problem;
      return `${title} ${step}\n${texts.incident}: ${incident}`;
    }
    if (!(error instanceof CardFailure)) return texts.offline;
    try {
      const advice = await post("/auth/error", {
        code: /^[A-Za-z][A-Za-z0-9_-]{0,63}$/.test(error.code) ? error.code : "UNKNOWN",
        tries_left: error.triesLeft,
        duration_milliseconds: Math.min(Math.round(performance.now() - startedAt), 3600000),
        versions: { library: LIBRARY_VERSION },
      });
      return advice.reportable
        ? `${advice.text}\n${texts.incident}: ${advice.incident}` : advice.text;
    } catch {
      return texts.failed;
    }
  }

  function onPress(id, work) {
    const button = document.getElementById(id);
    if (!button) return;
    button.addEventListener("click", async () => {
      const startedAt = performance.now();
      button.disabled = true;
      try {
        await work(button.dataset);
      } catch (error) {
        say(await explain(error, button.dataset, startedAt), true);
        button.disabled = false;
        button.focus();
      }
    });
  }

  onPress("login", async (texts) => {
    say(texts.workingChallenge);
    const challenge = await post("/auth/challenge", {});
    say(texts.workingCard);
    const token = await askCard(challenge.nonce);
    say(texts.workingLogin);
    await post("/auth/login", { challenge_id: challenge.challenge_id, auth_token: token });
    window.location.assign("/me?lang=" + language);
  });

  onPress("logout", async (texts) => {
    say(texts.workingLogout);
    await post("/auth/logout", {});
    window.location.assign("/login?lang=" + language);
  });
})();
