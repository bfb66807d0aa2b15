"use strict";

// The token goes as the body of one request; the answer sets a cookie that no script can read.
document.getElementById("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = document.getElementById("answer");
  answer.textContent = "";
  try {
    const done = await fetch("/login", { method: "POST", body: document.getElementById("token").value });
    if (done.ok) {
      window.location.replace("/");
      return;
    }
    answer.textContent = (await done.json()).error;
  } catch {
    answer.textContent = "no answer from the server";
  }
});
