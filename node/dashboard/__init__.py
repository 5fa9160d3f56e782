"""The dashboard: static files that every node serves at `/` (`node.api.pages`).

Plain HTML, CSS and JavaScript modules, without a build step:

    index.html   the frame: landmarks, and where the parts go
    style.css    colours, light and dark; layout from a phone to a wall
    app.js       puts the rest together
    link.js      the way to the cluster: requests, the stream of events, moving to another node
    picture.js   what is known of the cluster, kept fresh
    history.js   what was decided, newest first
    dom.js       elements from descriptions, changed only where they differ
    words.js     roles, times and figures as people read them
    headline.js alarms.js nodes.js rings.js proposals.js timeline.js   the parts of the screen;
                 how the cluster is, the API judges (`cluster.verdict`)
    detail.js    one node or device: how it is, its history, why
    actions.js   what an operator may order, each with a confirmation
"""
