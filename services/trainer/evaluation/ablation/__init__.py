"""The study of Ullah et al. (2024, doi 10.1093/jcde/qwae019) on any folders of good and defective pictures.

`rows` names what is compared, `dataset` the pictures, `splits` how they are divided, `features` what is computed once
for all; `classical`, `detectors` and `deep` are the three families of rows; `results` keeps what was measured, and
`study` runs all. `report` is what was found and `origin` by what; `table`, `plots` and `explained` say it, `page` and
`files` put it where it can be filed.
"""
