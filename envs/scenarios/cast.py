"""The characters of our own families, in SOTOPIA's schema."""

from __future__ import annotations

from envs.types import Profile

CAST: tuple[Profile, ...] = (
    Profile("Mira", "Okafor", 34, "Bookbinder", "Woman", "she/her", "Mira mends old atlases."),
    Profile("Jonas", "Lind", 41, "Ferry captain", "Man", "he/him", "Jonas hums while he works."),
    Profile("Priya", "Raman", 29, "Bike mechanic", "Woman", "she/her", "Priya races on Sundays."),
    Profile("Tomas", "Vega", 52, "Baker", "Man", "he/him", "Tomas gives away day-old bread."),
    Profile("Noor", "Haddad", 38, "Radio host", "Woman", "she/her", "Noor collects train tickets."),
    Profile("Elias", "Brandt", 25, "Student", "Man", "he/him", "Elias lives on three part-time jobs."),
    Profile("Sanae", "Mori", 47, "Gardener", "Woman", "she/her", "Sanae speaks to her tomatoes."),
    Profile("Kofi", "Mensah", 31, "Nurse", "Man", "he/him", "Kofi coaches a youth team."),
)
