"""The dashboard: static files that every node serves at `/` (`node.api.pages`).

Plain HTML, CSS and JavaScript modules, without a build step:

    index.html   the frame: landmarks, and where the parts go
    style.css    colours, light and dark; layout from a phone to a wall
    app.js       puts the rest together
    place.js     where one is, as it stands in the URL: the view, its filters, the sheet
    link.js      the connection: requests, the event stream, switching to another node
    picture.js   what is known about the cluster, kept fresh
    history.js   decisions, newest first
    pages.js     lists that a node pages: as much of them as was asked for
    dom.js       elements from descriptions, changed only where they differ
    words.js     roles, times and figures for people
    headline.js alarms.js nodes.js rings.js rollouts.js deployments.js proposals.js timeline.js
                 the parts of the overview;
                 the verdict comes from the API (`cluster.verdict`)
    devices.js decisions.js
                 the views of all devices and of all decisions; table.js saves them as CSV
    past.js      the view of the past: roles, risk, rings, who hears whom
    coming.js    when something happens next by itself
    detail.js    one node, device, deployment or rollout: state, history, explanation
    rollout.js   the sheet of a rollout
    standing.js stages.js evidence.js
                 how a rollout stands, in words; its stages and gates; its evidence as a line
    actions.js   orders of the operator, each with a confirmation; batch.js many at a time
    seat.js governing.js
                 those about who is PRIMARY, and about the rings as a whole
    orders.js    those about rollouts: what each would do, and why one is not possible
    preview.js   whom one would reach, as the cluster foresees it
    fields.js    what is asked for beside the reason
"""
