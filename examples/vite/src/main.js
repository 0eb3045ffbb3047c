import "./style.css";

document.querySelector("#page").textContent = `Hello from Vite at ${location.pathname}`;
