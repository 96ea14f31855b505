"""The report: what a checkpoint consists of, where its time goes, what each optimisation gains and costs.

=================  ==========================================================================================
``material``       the checkpoint, its engine, its graphs and speech, each made when a section first needs it
``sections``       one module each: ``measure`` gives plain numbers, ``show`` turns them into tables and pictures
``profilers``      time by operator and layer; likewise ``operators``, ``distributions``, ``judging`` for their sections
``build``          runs the sections and writes JSON, PNG, Markdown and HTML
``compare``        two reports side by side
``reasons``        what failed, without folders of the machine: no output names one
=================  ==========================================================================================

A section's ``measure`` gives what JSON can hold, and ``show`` uses nothing else: so a page can be made again from its
JSON.
"""
