//! Tier 2: conversion, model, plan and sync; the maps are in memory and check the ABI's rules at every write.

mod cases;
mod scale;
