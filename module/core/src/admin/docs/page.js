
(() => {
  'use strict';
  // The status page stores its token under the same name.
  const STORED = 'nginx-openai token';
  const $ = (id) => document.getElementById(id);
  let token = null;

  function trouble(text) {
    $('trouble').hidden = !text;
    $('trouble').textContent = text;
  }

  function signOut(why) {
    sessionStorage.removeItem(STORED);
    token = null;
    $('api').replaceChildren();
    $('sign-out').hidden = true;
    $('sign-in').hidden = false;
    trouble(why);
    $('token').value = '';
    $('token').focus();
  }

  function show() {
    sessionStorage.setItem(STORED, token);
    $('sign-in').hidden = true;
    $('sign-out').hidden = false;
    trouble('');
    // Swagger UI cannot execute an operation that was opened before the document was complete.
    $('api').inert = true;
    SwaggerUIBundle({
      onComplete: () => { $('api').inert = false; },
      url: new URL('openapi.json', location.href).href,
      domNode: $('api'),
      defaultModelsExpandDepth: 0,
      tryItOutEnabled: true,
      validatorUrl: null,
      requestInterceptor: (request) => {
        if (token !== null) request.headers['Authorization'] = `Bearer ${token}`;
        return request;
      },
    });
  }

  async function load() {
    try {
      const answer = await fetch('openapi.json', {
        headers: { 'X-Service-Token': token }, cache: 'no-store', redirect: 'error',
      });
      if (answer.status === 401) return signOut('This token is not known.');
      if (!answer.ok) throw new Error(`the gateway answered ${answer.status}`);
      show();
    } catch (error) {
      signOut(`The description of the API cannot be read: ${error.message}.`);
    }
  }

  $('sign-in').addEventListener('submit', (event) => {
    event.preventDefault();
    token = $('token').value.trim();
    if (token) load();
  });
  $('sign-out').addEventListener('click', () => signOut(''));
  // A browser that follows the link sends no token.
  $('document').addEventListener('click', async (event) => {
    if (token === null) return;
    event.preventDefault();
    const answer = await fetch('openapi.json', { headers: { 'X-Service-Token': token } });
    const link = document.createElement('a');
    link.href = URL.createObjectURL(await answer.blob());
    link.download = 'openapi.json';
    link.click();
    URL.revokeObjectURL(link.href);
  });

  token = sessionStorage.getItem(STORED);
  if (token === null) signOut('');
  else load();
})();
